"""Ranks of the target's tokens and the advice of :mod:`specviz.trace.advice` in a few lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specviz.digits import digits
from specviz.display import printable
from specviz.trace.advice import HOPEFUL, LEAST_DECISIONS, Advice, Advised
from specviz.trace.calibration import Interval
from specviz.trace.schema import Step
from specviz.trace.target_ranks import RankHistogram, column_names, rank_histograms


def rank_report(steps: Sequence[Step]) -> list[str]:
    """Would width have helped? A line a depth."""
    rejections, leaves = rank_histograms(steps)
    head = (
        f"{'':<22}{'ends':>6}  "
        + "".join(f"{name:>7}" for name in column_names())
        + f"{'never':>7}{'beyond':>8}{'no row':>8}"
    )
    lines = ["Rank in the draft's row (0: its likeliest) of the token that the target emitted instead", head]
    lines += [_line(f"rejected at depth {one.depth}", one) for one in rejections]
    lines += [_line(f"leaf at depth {one.depth}", one) for one in leaves]
    lines.append("never: the draft gives it nothing. no row: the draft did not run there, or it was not recorded.")
    if known := sum(sum(one.known) + one.never for one in rejections):
        likeliest = [sum(sum(one.known[:columns]) for one in rejections) for columns in (4, 6, 7)]
        lines.append(
            f"Of {known} rejections whose rank is known the token was among the draft's 4 likeliest in {likeliest[0]}, "
            f"its 16 likeliest in {likeliest[1]}, its 32 likeliest in {likeliest[2]}."
        )
    if any(one.beyond for one in (*rejections, *leaves)):
        fewest = min(one.recorded for one in (*rejections, *leaves) if one.beyond)
        lines.append(
            f"beyond: past the recorded width of the row, {fewest} entries or more; that rank cannot be known."
        )
    return lines


def _line(name: str, one: RankHistogram) -> str:
    counts = "".join(f"{count:>7}" for count in one.known)
    return f"{name:<22}{one.ends:>6}  {counts}{one.never:>7}{one.beyond:>8}{one.no_row:>8}"


def advice_report(advice: Advice) -> list[str]:
    """The measured acceptance, what it expects of today's trees and of the best ones, and what was seen."""
    return list(_lines(advice))


def _lines(it: Advice) -> Iterator[str]:
    left = f"; {it.left_out} with another driver, proposal, sampling or processors are left out" if it.left_out else ""
    yield (
        f"{it.decisions} decisions in {it.steps} steps, driver {printable(it.driver, keep='')}, proposal "
        f"{it.proposal or 'not recorded'}{left} (below {LEAST_DECISIONS} nothing is advised)"
    )
    last = len(it.acceptance.rows)
    for depth, (row, decisions) in enumerate(zip(it.acceptance.rows, it.acceptance.decisions, strict=True), start=1):
        deeper = " and deeper" if depth == last else ""
        yield f"acceptance by rank at depth {depth}{deeper}, {decisions} decisions: {','.join(f'{p:.3f}' for p in row)}"
    if it.proposal != "top_k":
        yield "Of more siblings than were drawn nothing is known, so no tree is advised that has them."
    if it.chosen:
        yield (
            "The builder expanded what the draft was sure of: the acceptance is that of such places, and a shape that "
            "does not choose gets less."
        )
    yield (
        f"today: {digits(it.nodes)} nodes on average, expected {digits(it.today)}, seen {digits(it.seen)} "
        f"({interval_text(it.interval)}): the model is off by {it.today - it.seen:+.3f}"
    )
    yield "expected, seen: new tokens a step, the bonus token included"
    yield f"{'budget':>8}{'nodes':>7}{'levels':>8}{'expected':>10}{'ms':>9}{'tokens/s':>10}"
    for tree in it.trees:
        mark = "  fastest" if tree.budget == it.fastest else ""
        yield f"{tree.budget:>8}{tree.nodes:>7}{tree.levels:>8}{tree.expected:>10.3f}{_times(tree)}{mark}"
    yield from _timed(it)
    yield f"{HOPEFUL} (--held-out)"
    best = it.best()
    # Quoted, because shells have a use of their own for brackets.
    yield f'advised, {best.nodes} nodes: --builder explicit --tree "{best.paths}"' + _proposal(it)


def _proposal(it: Advice) -> str:
    return f" --proposal {it.proposal}" if it.proposal else ""


def _times(tree: Advised) -> str:
    if tree.seconds is None or tree.speed is None:
        return f"{'-':>9}{'-':>10}"
    return f"{1000 * tree.seconds:>9.1f}{tree.speed:>10.1f}"


def _timed(it: Advice) -> Iterator[str]:
    widths = ", ".join(f"{one.rows - 1} nodes {1000 * one.seconds:.1f} ms" for one in it.times.target)
    if it.times.draft is None or not widths:
        yield "Which budget is fastest cannot be said: no forward times were recorded; give some with --times."
    else:
        yield f"target forwards measured: {widths}; draft {1000 * it.times.draft:.1f} ms a level"
        if it.fastest is None:
            yield "Which budget is fastest cannot be said of one width; give other runs, or bench's, with --times."


def interval_text(ends: Interval | None) -> str:
    """An interval as a sentence names it."""
    return "too few steps for an interval" if ends is None else f"95 %: {digits(ends[0])} to {digits(ends[1])}"
