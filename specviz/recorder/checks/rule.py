"""The rule that an engine says it has, applied by specviz to the engine's own rows.

The only part of the online checks that needs torch: the verifiers compute with it. Rows are judged as they were given,
without a copy. Where the engine's numbers differ they are judged again, some times, as rounding in the engine's number
format could have left them, so that a residual of which little is left is given the slack that it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from specviz.errors import SettingsError, shown
from specviz.recorder.checks.results import PATH_LACKS, compared, lacked, tolerance_of_format, unit_roundoff
from specviz.recorder.checks.rows import View, missing_rows, widened
from specviz.recorder.raw_step import Rows
from specviz.trace.checks import Check
from specviz.trace.schema import Choice
from specviz.trace.settings import parse_pairs

if TYPE_CHECKING:  # at run time it would import torch
    import torch

    from specviz.tree import TokenTree
    from specviz.verifiers import Judgement, Verifier

THRESHOLDS = "thresholds"
BONUS_ROW = "bonus_row"
BONUS_TOKEN = "bonus_token"
OURS = "rejection"
"""What a step is judged by where the engine has not said its rule."""
ROUNDINGS = 4
"""How often rows are judged again with other rounding before a difference counts."""
_SLACK = 8
"""By how much more than such a judgement the engine may be off: its own sums round at every step."""


class Lacking(Exception):
    """A step cannot be judged; says what it lacks."""


@dataclass
class Judged:
    """A step as specviz's verifier of that name judges it.

    Attributes:
        tree: with the draft's rows by the target's ids.
        target: [n, V]; NaN at nodes without a row, which no child needs.
    """

    view: View
    verifier: Verifier
    options: Any
    tree: TokenTree
    target: torch.Tensor

    @cached_property
    def judgement(self) -> Judgement:
        return self.verifier.judge(self.tree, self.target, self.options).on_host()

    @property
    def uses_q(self) -> bool:
        return _uses_q(self.verifier)

    def rounded(self) -> Iterator[Judged]:
        """The same step with rows as rounding may have left them, some times."""
        import torch

        step = self.view.step
        random = np.random.default_rng(0)
        for _ in range(ROUNDINGS):
            rows = []  # in float64, so that this rounding is the only one
            for values, dtype in ((self.target, step.dtype), (self.tree.rows, step.draft_dtype)):
                signs = random.choice((-1.0, 1.0), size=tuple(values.shape))
                rows.append(values.double() * (1 + torch.from_numpy(signs) * unit_roundoff(dtype)))
            tree = type(self.tree)(self.tree.shape, self.tree.tokens, rows[1], self.tree.row_of, self.tree.proposal)
            yield Judged(self.view, self.verifier, self.options, tree, rows[0])

    def bonus_row(self) -> Rows:
        """[V], what the bonus is drawn from at the end of the engine's path, scaled to 1."""
        from specviz.verifiers import End

        node = self.view.walk[-1]
        if self.view.p(node) is None:  # a leaf, whose row no decision needs
            raise Lacking(f"the target's row at {self.view.named(node)}")
        rejected = tuple(self.view.children[node]) if self.uses_q and self.verifier.name != "longest_path" else ()
        row = self.judgement.distribution(End(node, "residual" if rejected else "target", rejected))
        found: Rows = row.double().numpy()
        total = float(found.sum())
        if not total > 0:
            raise Lacking(f"the target's row at {self.view.named(node)}")
        return found / total


def claimed(view: View) -> Judged:
    """The step, ready to be judged by the rule that its engine says it has; by rejection where it has not said.

    Raises:
        Lacking: where there is no such rule, or rows or the proposal are missing.
    """
    if view.judged is None:
        try:
            view.judged = ready(view, view.step.rule or OURS)
        except Lacking as lack:
            view.judged = lack
    if isinstance(view.judged, Lacking):
        raise view.judged
    assert isinstance(view.judged, Judged)
    return view.judged


def ready(view: View, rule: str) -> Judged:
    """By a rule's name, with options after a colon as the command line takes them."""
    step = view.step
    if step.p is None:  # before torch is imported: without rows a recorder has no need of it
        raise Lacking(missing_rows(step, "target"))

    from specviz.tree import Shape, TokenTree
    from specviz.verifiers import resolve_verifier

    name, _, pairs = rule.partition(":")
    try:
        choice = Choice(name=name, options=parse_pairs(pairs.split(",") if pairs else [], "verifier"))
        verifier, options = resolve_verifier(choice)
    except (SettingsError, ValueError):
        raise Lacking(f"a rule that specviz has: the engine says {shown(rule)}") from None
    inner = [node for node, children in enumerate(view.children) if children]
    for node in inner:
        if view.p(node) is None:
            raise Lacking(f"the target's row at {view.named(node)}")
    width = step.p.shape[-1]
    target = step.p
    if step.p_nodes != list(range(len(view))):
        target = np.full((len(view), width), np.nan, dtype=step.p.dtype)
        target[step.p_nodes] = step.p
    # Not said, and not needed: as if children were chosen. What is told of q then is left out.
    proposal = step.proposal or "top_k"
    if _uses_q(verifier) and step.proposal is None:
        raise Lacking("how siblings were proposed (proposal)")
    if _uses_q(verifier) and proposal != "top_k":
        for node in inner:
            if view.q(node) is None:
                raise Lacking(
                    missing_rows(step, "draft")
                    if step.q is None and step.q_logits is not None
                    else f"the draft's row at {view.named(node)}"
                )
    if _uses_q(verifier) and proposal != "top_k" and step.q is not None:
        rows = widened(step.q, step.vocabulary, width)
        row_of = {node: row for row, node in enumerate(step.q_nodes)}
    else:  # none that the rule would read
        rows, row_of, proposal = np.zeros((1, width), dtype=target.dtype), dict.fromkeys(inner, 0), "top_k"
    if any(not 0 <= token < width for token in step.tokens):
        raise Lacking(f"rows as wide as its tokens are large: they have {width} columns")
    tree = TokenTree(
        Shape(tuple(step.parents)),
        tuple(step.tokens),
        as_tensor(rows),
        row_of,
        proposal,
    )
    return Judged(view, verifier, options, tree, as_tensor(target))


def as_tensor(rows: Rows) -> torch.Tensor:
    """The same memory where that may be written to."""
    import torch

    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def thresholds(view: View) -> Check:
    """Each number that the engine compared a coin with, against the rule's.

    A threshold of exactly 1 may be any larger number cut there: both let every coin pass.
    """
    step = view.step
    if not step.thresholds:
        return lacked(THRESHOLDS, "the numbers that the engine compared (thresholds)")
    if step.rule is None:
        return lacked(THRESHOLDS, "the rule that the engine says it has (rule)")
    try:
        judged = claimed(view)
        ours = judged.judgement.thresholds.tolist()
        said = {node: value for node, value in step.thresholds.items() if 0 < node < len(view)}
        differences = {node: _apart(value, ours[node]) for node, value in said.items()}
        limit = tolerance_of_format(step.dtype)
        if any(difference > limit for difference in differences.values()):
            slack = dict.fromkeys(said, 0.0)
            for other in judged.rounded():
                again = other.judgement.thresholds.tolist()
                slack = {node: max(slack[node], _apart(again[node], ours[node])) for node in said}
            differences = {
                node: 0.0 if difference <= _SLACK * slack[node] else difference
                for node, difference in differences.items()
            }
    except Lacking as lack:
        return lacked(THRESHOLDS, str(lack))
    return compared(
        THRESHOLDS,
        list(differences.items()),
        lambda node, _: (
            f"At {view.named(node or 0)} the engine compared with {said[node or 0]:.4g}; by "
            f"{judged.verifier.name} it is {ours[node or 0]:.4g}."
        ),
        limit,
    )


def _apart(one: float, other: float) -> float:
    if one == 1:
        other = min(1.0, other)
    return abs(one - other) / max(1.0, abs(other))


def bonus_row(view: View) -> Check:
    """The row that the engine drew its bonus from, scaled to 1, against the rule's: the largest difference."""
    step = view.step
    if step.bonus_row is None:
        return lacked(BONUS_ROW, "the row that the bonus was drawn from (bonus_row)")
    if not view.hangs_together:
        return lacked(BONUS_ROW, PATH_LACKS)
    try:
        judged = claimed(view)
        ours = judged.bonus_row()
        said = step.bonus_row.astype(np.float64)
        if len(said) != len(ours) or not float(said.sum()) > 0:
            return lacked(BONUS_ROW, f"a row of {len(ours)} probabilities as the bonus row")
        said = said / said.sum()
        limit = tolerance_of_format(step.dtype)
        worst = float(np.abs(said - ours).max())
        if worst > limit:
            slack = max(float(np.abs(other.bonus_row() - ours).max()) for other in judged.rounded())
            worst = 0.0 if worst <= _SLACK * slack else worst
    except Lacking as lack:
        return lacked(BONUS_ROW, str(lack))
    node = view.walk[-1]
    rule = "residual" if view.children[node] and judged.uses_q else "row"
    return compared(
        BONUS_ROW,
        [(node, worst)],
        lambda _, worst: (
            f"The row that the bonus after {view.named(node)} was drawn from is not the {rule} that "
            f"{judged.verifier.name} leaves there: they differ by {worst:.2g}."
        ),
        limit,
    )


def bonus_token(view: View) -> Check:
    """The bonus has probability in the row that the rule draws it from."""
    step = view.step
    if step.bonus is None:
        return lacked(BONUS_TOKEN, "the bonus token")
    if not view.hangs_together:
        return lacked(BONUS_TOKEN, PATH_LACKS)
    if step.rule is None:
        return lacked(BONUS_TOKEN, "the rule that the engine says it has (rule)")
    try:
        judged = claimed(view)
        ours = judged.bonus_row()
        wrong = not (step.bonus < len(ours) and ours[step.bonus] > 0)
        if wrong and step.bonus < len(ours):
            wrong = not any(other.bonus_row()[step.bonus] > 0 for other in judged.rounded())
    except Lacking as lack:
        return lacked(BONUS_TOKEN, str(lack))
    node = view.walk[-1]
    return compared(
        BONUS_TOKEN,
        [(node, float(wrong))],
        lambda *_: (
            f"The bonus, token {step.bonus}, has probability 0 in what {judged.verifier.name} leaves at "
            f"{view.named(node)}."
        ),
    )


def _uses_q(verifier: Verifier) -> bool:
    """Rules that compare coins divide by q; the others look at the target alone."""
    return verifier.comparison == "uniform < threshold"
