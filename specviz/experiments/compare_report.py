"""A comparison in plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from specviz.experiments.statistics import (
    Counts,
    Difference,
    Estimate,
    Group,
    Tally,
    accepted_length,
    added,
    block_efficiency,
    by_group,
    differences,
    estimate,
    nll_per_token,
)
from specviz.metrics import FORMULAS

NOTES = f"""\
block eff.: {FORMULAS["block_efficiency"]}
by depth: {FORMULAS["acceptance_by_depth"]}
by sibling rank: {FORMULAS["acceptance_by_rank"]}
[ ]: 95 % bootstrap intervals over prompts; p: exchange test over prompts, Holm: corrected for all tests of its table"""
_MODES = {"paired": "Paired: the same trees and luck for all verifiers", "free": "Free-running: each its own text"}


def format_report(tallies: Sequence[Tally]) -> str:
    """Tables of everything :mod:`specviz.experiments.statistics` knows, for each mode that was run."""
    lines = list(_lines(tallies))
    return "\n".join([*lines, NOTES]) if lines else "No run has a step."


def _lines(tallies: Sequence[Tally]) -> Iterator[str]:
    for mode, title in _MODES.items():
        own = [tally for tally in tallies if tally.group.mode == mode]
        if not own:
            continue
        yield from (title, "=" * len(title), "")
        yield from _lengths(own, quality=mode == "free")
        yield from _differences("accepted length", differences(own, accepted_length))
        if mode == "free" and any(tally.nll is not None for tally in own):
            yield from _differences("NLL per token", differences(own, nll_per_token))
        yield from _kinds(own)
        yield from _places("acceptance by depth", own, 1)
        yield from _places("acceptance by sibling rank", own, 0)


def _lengths(tallies: Sequence[Tally], quality: bool) -> Iterator[str]:
    head = ["tree", "T", "verifier", "prompts", "steps", "accepted", "block eff.", *(["NLL/token"] if quality else [])]
    rows = []
    for group, verifiers in by_group(tallies).items():
        for name, own in verifiers.items():
            accepted, efficiency = estimate(own, accepted_length), estimate(own, block_efficiency)
            steps = sum(tally.steps for tally in own)
            row = [*_group(group), name, str(accepted.prompts), str(steps), _interval(accepted), _interval(efficiency)]
            rows.append(row + ([_interval(estimate(own, nll_per_token))] if quality else []))
    yield from table(head, rows)


def _differences(what: str, found: Sequence[Difference]) -> Iterator[str]:
    if not found:
        return
    yield f"Differences in {what}"
    rows = [
        [
            *_group(it.group),
            f"{it.a} - {it.b}",
            _interval(Estimate(it.value, it.low, it.high, it.prompts), sign="+"),
            f"{it.p:.4f}",
            f"{it.adjusted:.4f}",
        ]
        for it in found
    ]
    yield from table(["tree", "T", "verifiers", "difference", "p", "Holm"], rows)


def _kinds(tallies: Sequence[Tally]) -> Iterator[str]:
    yield "Block efficiency by kind of prompt"
    kinds = list(dict.fromkeys(tally.kind for tally in tallies))
    names = list(dict.fromkeys(tally.verifier for tally in tallies))
    rows = []
    for group, verifiers in by_group(tallies).items():
        for kind in kinds:
            cells = [
                _interval(
                    estimate([tally for tally in verifiers.get(name, []) if tally.kind == kind], block_efficiency)
                )
                for name in names
            ]
            rows.append([*_group(group), kind, *cells])
    yield from table(["tree", "T", "kind", *names], rows)


def _places(title: str, tallies: Sequence[Tally], first: int) -> Iterator[str]:
    yield title[0].upper() + title[1:]
    found: list[tuple[Group, str, Counts]] = []
    for group, verifiers in by_group(tallies).items():
        for name, own in verifiers.items():
            found.append((group, name, added(tally.by_depth if first else tally.by_rank for tally in own)))
    width = max((len(counts) for _, _, counts in found), default=0)
    rows = [
        [*_group(group), name, *(f"{a / c:.3f}" if c else "-" for a, c in counts), *[""] * (width - len(counts))]
        for group, name, counts in found
    ]
    yield from table(["tree", "T", "verifier", *(str(place + first) for place in range(width))], rows)


def _group(group: Group) -> list[str]:
    tree = group.tree if len(group.tree) <= 28 else group.tree[:27] + "…"
    return [tree, f"{group.temperature:g}"]


def _interval(it: Estimate, sign: str = "") -> str:
    if not it.prompts:
        return "-"
    return f"{it.value:{sign}.3f} [{it.low:{sign}.3f}, {it.high:{sign}.3f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they must be, and an empty line."""
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
