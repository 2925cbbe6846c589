"""A trace in a few lines of plain text, for the command line."""

from __future__ import annotations

from collections.abc import Iterable

from specviz.digits import digits
from specviz.display import printable
from specviz.trace.calibration import (
    Interval,
    calibration_by_depth,
    confidence_by_depth,
    outside_vocabulary,
)
from specviz.trace.intervals import against, efficiency_interval, gap_interval
from specviz.trace.metrics import (
    FORMULAS,
    acceptance_by_depth,
    acceptance_by_rank,
    accepted_lengths,
    block_efficiency,
    difference_text,
    new_tokens_at,
    node_acceptance,
    overhead,
    same_steps,
    tolerances,
)
from specviz.trace.processors import written as written_processors
from specviz.trace.schema import Timings, Trace, text_of_tokens, written
from specviz.trace.stop_strings import end_in_words

_NODES_LISTED = 64
_FAILURES_LISTED = 5
_THROWN_NAMED = 8


def summary(trace: Trace) -> str:
    """Output text, figures per verifier, seconds per phase, and the worst audit if there was one."""
    steps = trace.steps
    texts = {token.id: token for step in steps for token in step.tokens}
    text = text_of_tokens([written(token, texts) for token in trace.output_tokens()])
    ended: str = trace.end_reason or ("not yet" if steps else "not started")
    if steps and ended == "stop string":
        ended = end_in_words(trace, len(steps) - 1, _one_line)
    tokens = len(trace.output_tokens())
    thrown = [step.tree.nodes[node].token for step in steps for node in step.thrown_away()]
    named = " ".join(f"“{_one_line(text_of_tokens([written(token, texts)]))}”" for token in thrown[:_THROWN_NAMED])
    more = " ..." if len(thrown) > _THROWN_NAMED else ""
    rest = f"; accepted and thrown away: {len(thrown)} ({named}{more})" if thrown else ""
    lines = [printable(text, keep="\n"), "", f"{tokens} tokens in {len(steps)} steps, ended: {ended}{rest}", ""]
    if not steps:
        return "\n".join([*lines, *_failed(trace)])
    lines.append(f"{'verifier':<16}{'block eff.':>10}{'accepted':>10}   by depth{'':<22}by sibling rank")
    driver = trace.settings.driver if trace.settings else trace.who
    # What figures of the whole run are there for: a fork may go on with other verifiers.
    throughout = [name for name in steps[0].verdicts if all(name in step.verdicts for step in steps)]
    lines += _figures(trace, throughout, driver)
    lines += _partly(trace, driver) if trace.engine else []
    lines += _against(trace, throughout)
    lines += [
        "* drives" if trace.settings else "* decided, the engine that was recorded",
        f"block efficiency: {FORMULAS['block_efficiency']}",
        f"by depth: {FORMULAS['acceptance_by_depth']}",
        f"by sibling rank: {FORMULAS['acceptance_by_rank']}",
        *_optima(trace, throughout),
        *_processors(trace, throughout),
        "",
    ]
    lines += _draft(trace)
    lines += _seconds(trace)
    lines += [line for model, limit in tolerances(trace.models).items() for line in _audit(trace, model, limit)]
    return "\n".join([*lines, *_failed(trace)])


def _figures(trace: Trace, names: Iterable[str], driver: str) -> list[str]:
    """A line a verifier, over the steps of ``trace``."""
    lines = []
    for name in names:
        mark = "*" if name == driver else " "
        efficiency = block_efficiency(trace, name)
        accepted = sum(accepted_lengths(trace.steps, name))
        depth = _shares(acceptance_by_depth(trace.steps, name))
        rank = _shares(acceptance_by_rank(trace.steps, name))
        lines.append(f"{mark}{_one_line(name):<15}{efficiency:>10.2f}{accepted:>10}   {depth:<30}{rank}")
    return lines


def _against(trace: Trace, names: Iterable[str]) -> list[str]:
    """How sure the driver's block efficiency is, and which verifiers differ from it by more than noise."""
    last = trace.steps[-1].driver
    own = [new_tokens_at(trace, at, step.driver) for at, step in enumerate(trace.steps)]
    lines = [f"block efficiency of the driver, over {len(own)} steps: {_interval(efficiency_interval(own))}"]
    for name in names:
        one = against(trace, name, last) if name != last else None
        if one is not None:
            noise = {None: "", True: ": may be noise", False: ": more than noise"}[one.noise if one.parted else None]
            lines.append(
                f"{_one_line(name)} less {_one_line(last)}: {_signed(one.value, 2)} new tokens a step "
                f"({_interval(one.interval)}), another length in {one.parted} of {one.steps} steps{noise}"
            )
    return lines


def _optima(trace: Trace, names: Iterable[str]) -> list[str]:
    """What was accepted at the nodes that each walk reached, beside the optimum, where it was recorded."""
    lines = []
    for name in names:
        at = node_acceptance(trace.steps, name)
        if at is not None:
            means = (f"{what} {getattr(at, what) / at.nodes:.3f}" for what in ("accepted", "expected", "optimum"))
            lines.append(
                f"{_one_line(name)} at the {at.nodes} nodes that it reached: {', '.join(means)}; optimum less expected "
                f"{_signed((at.optimum - at.expected) / at.nodes, 3)} ({_interval(gap_interval(trace.steps, name))})"
            )
    return [*lines, f"at the nodes reached: {FORMULAS['optimum']}"] if lines else []


def _processors(trace: Trace, names: Iterable[str]) -> list[str]:
    """What the processors did to the target's rows, and what the mode that was not chosen would have changed."""
    chosen = trace.settings.processors if trace.settings else None
    nodes = [
        (node.processed.moved, node.processed.apart, step.index, node.id)
        for step in trace.steps
        for node in step.tree.nodes
        if node.processed is not None
    ]
    if chosen is None or not nodes:
        return []
    moved = sum(one[0] for one in nodes) / len(nodes)
    _, apart, step, node = max(nodes, key=lambda one: one[1])
    lines = [
        f"processors: {_one_line(written_processors(chosen.chosen))}, {chosen.mode}; total variation between the "
        f"target's rows without and with them: {digits(moved, 2)} on average over {len(nodes)} nodes"
    ]
    if not apart:
        return [*lines, "exact and frozen rows are the same at every node"]
    other = "frozen" if chosen.mode == "exact" else "exact"
    parted = ", ".join(
        f"{_one_line(name)} in {sum(one.verdicts[name].other_mode is not None for one in trace.steps)}"
        for name in names
    )
    lossy = "; frozen rows are not those of the text, so no verifier is lossless on them" * (chosen.mode == "frozen")
    return [
        *lines,
        f"exact and frozen rows are apart by {digits(sum(one[1] for one in nodes) / len(nodes), 2)} on average, "
        f"{digits(apart, 2)} at most (step {step + 1}, node {node}); with {other} rows and the same luck another "
        f"outcome, of {len(trace.steps)} steps: {parted}{lossy}",
    ]


def _signed(value: float, places: int) -> str:
    """With the same minus as intervals have."""
    return f"{value:+.{places}f}".replace("-", "−")


def _one_line(text: str) -> str:
    return printable(text, keep="")


def _partly(trace: Trace, driver: str) -> list[str]:
    """Of verifiers that could judge some steps of another engine's run: figures beside the engine's of those steps."""
    lines = []
    for name in dict.fromkeys(name for step in trace.steps for name in step.verdicts):
        both = same_steps(trace.steps, (driver, name))
        if 0 < len(both) < len(trace.steps):
            lines.append(f"over the {len(both)} of {len(trace.steps)} steps that {_one_line(name)} could judge")
            lines += _figures(trace.model_copy(update={"steps": tuple(both)}), (driver, name), driver)
    return lines


def _draft(trace: Trace) -> list[str]:
    """Which head drafted, and how the draft's numbers fit what became of them."""
    head = trace.models.draft.head if trace.models.draft else None
    lines = []
    if head is not None:
        norm = ", the last layer's before the final norm" if head.before_norm else ""
        reads = f"reads the target's hidden states {', '.join(map(str, head.reads))}{norm}"
        by_hand = f"; set by hand: {', '.join(_one_line(one) for one in head.by_hand)}" if head.by_hand else ""
        lines.append(f"draft head: {head.format}, {head.kind}, {reads}{by_hand}")
    for depth, one in enumerate(calibration_by_depth(trace.steps), start=1):
        if one.q is not None and one.p is not None:
            share = f"accepted {one.accepted}/{one.reached}" if one.reached else "never reached"
            lines.append(
                f"drafted at depth {depth}: mean q {digits(one.q)}, mean p {digits(one.p)} over {one.drafted} tokens, "
                f"p - q {digits(one.p - one.q)} ({_interval(one.off)}); {share}"
            )
    for depth, said in enumerate(confidence_by_depth(trace.steps), start=1):
        if said.said is not None:
            lines.append(
                f"confidence at depth {depth}: mean {digits(said.said)} over {said.nodes} reached nodes, "
                f"accepted {said.accepted}"
            )
    outside = outside_vocabulary(trace.steps)
    if outside is not None:
        lines.append(
            f"p outside the draft's vocabulary: mean {digits(outside.p)} ({_interval(outside.interval)}) over "
            f"{outside.nodes} reached nodes; so a lossless rule accepts at most {digits(1 - outside.p)} on average"
        )
    elif head is not None and head.vocabulary is not None:
        lines.append("p outside the draft's vocabulary: not recorded")
    return [*lines, ""] if lines else []


def _interval(ends: Interval | None) -> str:
    return "too few steps for an interval" if ends is None else f"95 %: {digits(ends[0], 2)} to {digits(ends[1], 2)}"


def _seconds(trace: Trace) -> list[str]:
    """Seconds of the phases that every step has, and the share outside the forwards where every step tells."""
    times = [step.timings for step in trace.steps if step.timings is not None]
    whole = [phase for phase in Timings.model_fields if all(getattr(one, phase) is not None for one in times)]
    if len(times) < len(trace.steps) or not whole:
        return ["seconds: not recorded"]
    lines = ["seconds: " + ", ".join(f"{phase} {sum(getattr(one, phase) for one in times):.2f}" for phase in whole)]
    shares = [share for step in trace.steps if (share := overhead(step)) is not None]
    if len(shares) == len(trace.steps):
        lines.append(f"outside the two models' forwards: {sorted(shares)[len(shares) // 2]:.0%} of a step (median)")
    return lines


def _audit(trace: Trace, model: str, limit: float) -> list[str]:
    """What the audits of a model's cache found, where there were any."""
    changes = {step.index: getattr(step.caches, model) for step in trace.steps}
    found = {step: change.audit.worst() for step, change in changes.items() if change and change.audit}
    if not found:
        return []
    worst, wrong = max(found.values()), [step for step, value in found.items() if not value <= limit]
    said = f"audit: the {model}'s cache is off by at most {difference_text(worst)} (relative) from a recompute"
    over = "within" if not wrong else f"step {wrong[0] + 1} is the first of {len(wrong)} beyond"
    return [f"{said} at {len(found)} of {len(trace.steps)} steps; {over} the tolerance {digits(limit, 1)}"]


def _failed(trace: Trace) -> list[str]:
    """Steps that an error ended: the sentences, and the tree of the last one as far as it was grown."""
    lines = [
        f"step {one.index + 1} failed, and the loop went on: {_one_line(one.message)}"
        for one in trace.failures[:_FAILURES_LISTED]
    ]
    if len(trace.failures) > _FAILURES_LISTED:
        lines.append(f"and {len(trace.failures) - _FAILURES_LISTED} more steps that failed, which are in the trace")
    failed = trace.failed
    if failed is None:
        return lines
    lines += [
        f"step {failed.index + 1} failed: {_one_line(failed.message)}",
        f"its tree as far as it got, {len(failed.nodes) - 1} drafted tokens; - is what was not computed:",
        f"{'node':>5}{'parent':>7}  {'token':<20}{'draft p':>12}{'target p':>12}",
    ]
    texts = {token.id: token for token in failed.tokens}
    marks = failed.nonfinite.marks() if failed.nonfinite else {}
    for node in failed.nodes[:_NODES_LISTED]:
        text = printable(written(node.token, texts).text if node.text is None else node.text, keep="")[:18]
        parent = str(node.parent) if node.id else "-"
        q, p = _probability(node.draft_prob), _probability(node.target_prob)
        line = f"{node.id:>5}{parent:>7}  {text:<20}{q:>12}{p:>12}"
        lines.append(f"{line}  {marks[node.id]}" if node.id in marks else line)
    if len(failed.nodes) > _NODES_LISTED:
        lines.append(f"and {len(failed.nodes) - _NODES_LISTED} more nodes, which are in the trace")
    return lines


def _probability(p: float | None) -> str:
    return "-" if p is None else digits(p)


def _shares(counts: list[tuple[int, int]]) -> str:
    return " ".join(f"{accepted / taken:.2f}" if taken else "-" for accepted, taken in counts) or "-"
