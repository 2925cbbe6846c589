"""Does a verifier keep its promise? Every answer is an exact sum, see :mod:`specviz.verifiers.exact`.

A verifier that promises to be lossless must reproduce the target's joint on every tree and toy model here; one that
does not promise it should be caught by at least one of them, and the smallest such tree says the most. What is found
holds for the options that were checked; runs of this process hear of it through :mod:`specviz.verifiers.proof_table`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from specviz.drafting import BUILDERS, BUILT_IN_BUILDERS, Builder, resolve_builder
from specviz.errors import SettingsError
from specviz.options import Options
from specviz.processing import Processing
from specviz.trace.schema import Choice, Option, Promise, Proposal
from specviz.verifiers import ALL_PROPOSALS, BUILT_IN, Verifier, default_options, label_of, proof_table, verifier_errors
from specviz.verifiers.exact import Grown, Toy, draw_trees, emitted, processed, toy
from specviz.verifiers.proof_table import EXACT, LOSSY

VISIBLE = 1e-9
"""Above this a tree counts as one that shows a deviation."""
MOST_TREES = 5_000
"""Drawn trees of one tree and toy model that are summed over; the largest of :func:`cases_for` has 729."""
GRID: dict[str, dict[str, tuple[Option, ...]]] = {
    "eta": {"epsilon": (0.03, 0.09, 0.3), "delta": (0.1, 0.3, 0.9), "select": ("longest", "first")}
}
"""Options for which the shipped proofs are made, besides the defaults: every combination."""


@dataclass(frozen=True)
class Case:
    """A tree on a toy model. ``options`` are the builder's, without the proposal."""

    builder: str
    options: tuple[tuple[str, Option], ...]
    pair: str
    """Key into :data:`TOYS`."""

    @property
    def label(self) -> str:
        """The tree as a person writes it."""
        values = dict(self.options)
        if self.builder == "k_config" and "tree" in values:
            return f"({values['tree']})" if values["tree"] else "no draft"
        if self.builder == "explicit" and "paths" in values:
            return str(values["paths"])
        return f"{self.builder} " + " ".join(f"{name}={value}" for name, value in values.items())

    def builder_options(self, proposal: Proposal) -> Options:
        """The options, parsed."""
        values = dict(self.options)
        if "proposal" in BUILDERS[self.builder].Options.model_fields:
            values["proposal"] = proposal
        options: Options = resolve_builder(Choice(name=self.builder, options=values))[1]
        return options

    def nodes(self, proposal: Proposal) -> int:
        """Size of the tree, the root not counted."""
        return BUILDERS[self.builder].max_nodes(self.builder_options(proposal))


# Seeds are chosen: at the root the draft proposes a single token too often. Where it does so with all tokens but one, a
# residual is a point mass whatever the rule made of it, and most faults cannot show on small trees.
TOYS: dict[str, Toy] = {
    "V=3": toy(17, 3),
    "V=3 with zeros": toy(11, 3, zeros=True),
    "V=4": toy(39, 4),
    "V=4 with zeros": toy(37, 4, zeros=True),
}
REFERENCE = Case("k_config", (("tree", "2,2"),), "V=3")
"""The case whose mean number of tokens per step is reported."""
_SMALL = ("", "1", "1,1", "2", "3", "2,1")
_LARGE = ("1,1,1", "2,2", "2,1,1")
_HETEROGENEOUS = ("[0],[1],[0,0]", "[0],[1],[1,0]", "[0],[1],[2],[1,0]", "[0],[1],[1,0],[1,1],[1,0,0]")
_DYNAMIC = ((2, 2, 3), (2, 2, 4), (3, 3, 6))
_SEQUOIA = (("acceptance", "0.5,0.3"), ("total", 3), ("depth", 2))


def cases_for(proposal: Proposal) -> list[Case]:
    """All trees and toy models for a proposal, smallest tree first.

    Sampled siblings make many trees out of one shape, so the larger vocabulary goes with the smaller shapes only.
    """
    few = proposal == "top_k"
    cases = [
        Case("k_config", (("tree", tree),), pair)
        for pair in TOYS
        for tree in (_SMALL + _LARGE if few or pair.startswith("V=3") else _SMALL)
    ]
    cases += [
        Case("explicit", (("paths", paths),), pair)
        for pair in TOYS
        for paths in _HETEROGENEOUS
        if few or pair.startswith("V=3")
    ]
    cases += [Case("sequoia", _SEQUOIA, pair) for pair in TOYS if few or pair.startswith("V=3")]
    if few:
        cases += [
            Case("dynamic", (("rule", rule), ("top_k", k), ("depth", depth), ("total", total)), pair)
            for pair in TOYS
            for rule in ("eagle2", "best_first")
            for k, depth, total in _DYNAMIC
        ]
    return sorted(cases, key=lambda case: case.nodes(proposal))


def cases_of(tree: Choice) -> list[Case]:
    """One tree on every toy model: how a builder of one's own is checked.

    Raises:
        SettingsError: for an unknown builder or unfit options.
    """
    builder, options = resolve_builder(tree)
    builder.max_nodes(options)
    return [Case(tree.name, tuple(tree.options.items()), pair) for pair in TOYS]


@dataclass(frozen=True)
class Evidence:
    """One case in numbers.

    Attributes:
        distance: total variation between what is emitted and what should be.
        sequence: the tokens that are off the most, with their probability as emitted and as it should be.
    """

    tree: str
    pair: str
    nodes: int
    distance: float
    sequence: tuple[int, ...]
    probability: float
    reference: float


@dataclass(frozen=True)
class Finding:
    """What is known about one verifier, with one set of options, on one proposal.

    Attributes:
        verifier: its name, with the options that are not the defaults: ``eta:epsilon=0.03``.
        worst: the case with the largest distance.
        smallest: the smallest tree on which there is a visible distance, if there is one.
        tokens_per_step: on :data:`REFERENCE`, the bonus included.
        trees: how many drawn trees were summed over.
        cases: how many combinations of a tree and a toy model that were.
        options: all of them, defaults too.
    """

    verifier: str
    proposal: Proposal
    promise: Promise
    worst: Evidence
    smallest: Evidence | None
    tokens_per_step: float
    trees: int
    cases: int = 0
    options: Mapping[str, Option] = field(default_factory=dict)
    is_frozen: bool = False
    """Whether verifiers were given rows that processors made by the committed text alone: no promise is about them."""

    @property
    def ok(self) -> bool:
        """Whether what was found is what the verifier says of itself; a loss that nothing shows is no finding."""
        if self.is_frozen:
            return True
        return self.worst.distance > LOSSY if self.promise == "no" else self.worst.distance < EXACT

    @property
    def verdict(self) -> str:
        """One phrase for people."""
        if self.is_frozen:
            return "frozen: not the processed target" if self.worst.distance > LOSSY else "frozen: nothing shows it"
        if self.promise == "no":
            return "ok, lossy" if self.ok else "CALLED LOSSY, but nothing shows it"
        if self.promise == "yes":
            return "ok, lossless" if self.ok else "NOT LOSSLESS as promised"
        return "ok, greedy decoding" if self.ok else "NOT GREEDY DECODING as promised"


def check(
    verifiers: Iterable[Verifier],
    options: Mapping[str, Any] | None = None,
    proposals: Sequence[Proposal] = ALL_PROPOSALS,
    processing: Processing | None = None,
) -> Iterator[Finding]:
    """One finding for each verifier and proposal, as they are done.

    Args:
        options: parsed options by the verifier's name; defaults for those that are absent.
        processing: what processes the target; runs hear nothing of what is found with one.
    """
    for verifier in verifiers:
        chosen = (options or {}).get(verifier.name) or default_options(verifier)
        for proposal in proposals:
            with verifier_errors(verifier):
                found = check_one(verifier, chosen, proposal, processing)
            yield found


def check_tree(verifier: Verifier, options: Any, tree: Choice, processing: Processing | None = None) -> Finding:
    """What :func:`check_one` finds on one tree: for a builder of one's own, and for a look at one shape.

    Raises:
        SettingsError: for a tree that cannot be, or that can be drawn in more than :data:`MOST_TREES` ways.
    """
    cases = cases_of(tree)
    builder, chosen = resolve_builder(tree)
    proposal = builder.proposal(chosen)
    with verifier_errors(verifier):
        found = _enumerate(verifier, options, proposal, cases, processing)
    if processing is None and builder not in BUILT_IN_BUILDERS:
        proof_table.learn(verifier, options, proposal, found.worst.distance, proof_table.Tree(builder, chosen))
    return found


def check_one(verifier: Verifier, options: Any, proposal: Proposal, processing: Processing | None = None) -> Finding:
    """Enumerate every case of a proposal. Runs of this process may say from then on what was found."""
    found = _enumerate(verifier, options, proposal, cases_for(proposal), processing)
    if processing is None:
        proof_table.learn(verifier, options, proposal, found.worst.distance)
    return found


def _enumerate(
    verifier: Verifier, options: Any, proposal: Proposal, cases: Sequence[Case], processing: Processing | None = None
) -> Finding:
    worst: Evidence | None = None
    smallest: Evidence | None = None
    tokens_per_step = float("nan")
    count = 0
    for case in cases:
        trees = _trees(BUILDERS[case.builder], case, proposal, processing)
        count += len(trees)
        result = emitted(verifier, options, trees, _toy(case.pair, processing))
        if case == REFERENCE:
            tokens_per_step = result.tokens_per_step
        evidence = Evidence(case.label, case.pair, case.nodes(proposal), result.distance, *result.worst_sequence())
        # Negated, so that a distance of NaN counts as one.
        if worst is None or not evidence.distance <= worst.distance:
            worst = evidence
        if not evidence.distance <= VISIBLE and (smallest is None or evidence.nodes < smallest.nodes):
            smallest = evidence
    assert worst is not None
    promise = verifier.promise(proposal, options)
    name = label_of(verifier, options)
    return Finding(
        name,
        proposal,
        promise,
        worst,
        smallest,
        tokens_per_step,
        count,
        len(cases),
        options.model_dump(mode="json"),
        is_frozen=processing is not None and processing.mode == "frozen",
    )


def _toy(name: str, processing: Processing | None) -> Toy:
    return TOYS[name] if processing is None else _processed(name, processing)


@lru_cache(maxsize=32)
def _processed(name: str, processing: Processing) -> Toy:
    return processed(TOYS[name], processing)


@lru_cache(maxsize=256)
def _trees(builder: Builder, case: Case, proposal: Proposal, processing: Processing | None = None) -> tuple[Grown, ...]:
    """Drawn once for all verifiers."""
    pair = _toy(case.pair, processing)
    found = tuple(draw_trees(builder, case.builder_options(proposal), pair, most=MOST_TREES + 1))
    if len(found) > MOST_TREES:
        raise SettingsError(
            f"{case.label} can be drawn in more than {MOST_TREES:,} ways on {case.pair}; check a smaller tree."
        )
    return found


def built_in_jobs() -> Iterator[tuple[Verifier, Options]]:
    """Every verifier of ours with every set of options that the shipped proofs are made for, the defaults first."""
    for verifier in BUILT_IN:
        default = default_options(verifier)
        grid = GRID.get(verifier.name, {})
        yield verifier, default
        for values in itertools.product(*grid.values()):
            options = verifier.Options(**dict(zip(grid, values, strict=True)))
            if options != default:
                yield verifier, options


def entry(verifier: Verifier, found: Finding) -> proof_table.Entry:
    """A finding about a verifier of ours as the shipped table holds it."""
    return proof_table.Entry(
        verifier=verifier.name,
        options=dict(found.options),
        proposal=found.proposal,
        promise=found.promise,
        verdict=found.verdict,
        distance=float(f"{found.worst.distance:.6g}"),
        on=f"{found.worst.tree}, {found.worst.pair}",
        cases=found.cases,
        trees=found.trees,
        source=proof_table.source_hash(verifier),
    )


def format_report(findings: Iterable[Finding]) -> str:
    """A table of all findings, then the smallest tree that shows each deviation."""
    findings = list(findings)
    head = ("verifier", "proposal", "largest TV", "on", "tokens/step", "verdict")
    rows = [head]
    rows += [
        (
            found.verifier,
            found.proposal.replace("_", " "),
            f"{found.worst.distance:.2g}",
            f"{found.worst.tree}, {found.worst.pair}",
            "–" if math.isnan(found.tokens_per_step) else f"{found.tokens_per_step:.3f}",
            found.verdict,
        )
        for found in findings
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    shown = [line for found in findings for line in _smallest(found)]
    if shown:
        lines += ["", "Smallest tree that shows it:", *shown]
    broken = sum(not found.ok for found in findings)
    trees = sum(found.trees for found in findings)
    if all(found.is_frozen for found in findings):
        return "\n".join([*lines, "", f"{len(findings)} frozen rules measured on {trees:,} drawn trees."])
    return "\n".join([*lines, "", f"{len(findings)} promises checked on {trees:,} drawn trees: {broken} broken."])


def _smallest(found: Finding) -> list[str]:
    if found.smallest is None:
        return []
    it = found.smallest
    what = "greedy decoding" if found.promise == "greedy decoding" else "the target"
    what = f"{what}, processed by the whole text," if found.is_frozen else what
    return [
        f"  {found.verifier}, {found.proposal.replace('_', ' ')}: {it.tree}, {it.pair}, "
        f"TV {it.distance:.2g}; {list(it.sequence)} comes out with probability {it.probability:.4f}, "
        f"{what} gives {it.reference:.4f}"
    ]
