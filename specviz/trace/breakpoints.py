"""Breakpoints: conditions on a recorded step at which a run stops, each with the reason that is shown.

They read the trace alone, so a finished run can be searched for them as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from specviz.digits import digits
from specviz.errors import SettingsError, shown
from specviz.trace.metrics import difference_text, tolerances
from specviz.trace.schema import Step, Trace, text_of_tokens

T = TypeVar("T")

LONGEST_TEXT = 500


@dataclass(frozen=True)
class Breakpoints:
    """All off by default.

    Attributes:
        parting: another verifier accepted another path than the driver.
        nothing_accepted: the driver accepted no drafted token.
        token: this token id was committed.
        text: this text was completed by what was committed; it may span tokens and steps.
        entropy_above: nats, of the target where the driver stopped.
        target_prob_below: the driver accepted a token to which the target gave less.
        audit: a cache differs from its recompute by more than rounding (audited steps only).
    """

    parting: bool = False
    nothing_accepted: bool = False
    token: int | None = None
    text: str = ""
    entropy_above: float | None = None
    target_prob_below: float | None = None
    audit: bool = False

    def __bool__(self) -> bool:
        return self != Breakpoints()


@dataclass(frozen=True)
class Hit:
    """A step that met a condition.

    Attributes:
        position: index into the trace's steps.
        reason: one sentence.
        node: where to look in the tree.
    """

    position: int
    reason: str
    node: int | None = None


def parse_breakpoints(values: Mapping[str, Any]) -> Breakpoints:
    """Breakpoints from a form's values or the command line, where an empty text is off.

    Raises:
        SettingsError: naming the value that is wrong.
    """
    text = str(values.get("text") or "")
    if len(text) > LONGEST_TEXT:
        raise SettingsError(f"The text to stop at has {len(text)} characters; give at most {LONGEST_TEXT}.")
    token = _number(values.get("token"), "token id", 0, 2**31)
    if token is not None and token != int(token):
        raise SettingsError(f"The token id {token:g} is not a whole number.")
    return Breakpoints(
        parting=bool(values.get("parting")),
        nothing_accepted=bool(values.get("nothing_accepted")),
        token=None if token is None else int(token),
        text=text,
        entropy_above=_number(values.get("entropy_above"), "entropy", 0, 100),
        target_prob_below=_number(values.get("target_prob_below"), "target probability", 0, 1),
        audit=bool(values.get("audit")),
    )


SHORT = {
    "parting": "the verifiers accept different paths",
    "nothing": "the driver accepts nothing",
    "audit": "an audit fails (with --audit)",
    "token=ID": "this token id is committed",
    "text=TEXT": "this text is completed",
    "entropy>NATS": "the target's entropy where the driver stops is larger",
    "prob<P": "a token is accepted to which the target gives less",
}
"""How the command line writes a breakpoint."""


def parse_short(written: Iterable[str]) -> Breakpoints:
    """``["parting", "text=blue", "entropy>3"]`` -> breakpoints; see :data:`SHORT`.

    Raises:
        SettingsError: for anything else.
    """
    values: dict[str, Any] = {}
    for one in written:
        for start, name in (
            ("token=", "token"),
            ("text=", "text"),
            ("entropy>", "entropy_above"),
            ("prob<", "target_prob_below"),
        ):
            if one.startswith(start) and len(one) > len(start):
                values[name] = one[len(start) :]
                break
        else:
            flags = {"parting": "parting", "nothing": "nothing_accepted", "audit": "audit"}
            if one not in flags:
                raise SettingsError(f"There is no breakpoint {shown(one)}; choose from {', '.join(SHORT)}.")
            values[flags[one]] = True
    return parse_breakpoints(values)


def hits(trace: Trace, position: int, breakpoints: Breakpoints) -> list[Hit]:
    """Every condition that ``trace.steps[position]`` meets."""
    step = trace.steps[position]
    found: list[Hit] = []

    def hit(reason: str, node: int | None = None) -> None:
        found.append(Hit(position, reason, node))

    driver = step.verdicts[step.driver]
    if breakpoints.parting and (others := _parted(step)):
        hit(*others)
    if breakpoints.nothing_accepted and not driver.path:
        hit(f"{step.driver} accepted none of {len(step.tree.nodes) - 1} drafted tokens.", 0)
    if breakpoints.token is not None and breakpoints.token in step.committed:
        hit(f"Token {breakpoints.token} was committed.", _node_of(step, step.committed.index(breakpoints.token)))
    if breakpoints.text and (place := _completes(trace, position, breakpoints.text)) is not None:
        hit("The text to stop at was completed.", _node_of(step, place))
    row = step.tree.nodes[driver.end].target
    entropy = row.entropy if row else None  # what was not recorded meets no condition
    if breakpoints.entropy_above is not None and entropy is not None and entropy > breakpoints.entropy_above:
        hit(
            f"The target's entropy where {step.driver} stopped is {digits(entropy)} nats, "
            f"above {breakpoints.entropy_above:g}.",
            driver.end,
        )
    if (limit := breakpoints.target_prob_below) is not None:
        for node in driver.path:
            p = step.tree.nodes[node].target_prob
            if p is not None and p < limit:
                hit(
                    f"{step.driver} accepted node {node}, to which the target gives {digits(p)}, below {limit:g}.", node
                )
                break
    if breakpoints.audit:
        for name, limit in tolerances(trace.models_of(position)).items():
            change = getattr(step.caches, name)
            audit = change.audit if change else None
            if audit is not None and not audit.worst() <= limit:
                hit(
                    f"The {name}'s cache differs from its recompute by {difference_text(audit.worst())}, "
                    f"more than rounding ({digits(limit, 1)})."
                )
    return found


def last_hits(trace: Trace, breakpoints: Breakpoints | None) -> list[Hit]:
    """What the newest step meets: whoever records stops there. Nothing without a breakpoint or a step."""
    return hits(trace, len(trace.steps) - 1, breakpoints) if breakpoints and trace.steps else []


def first_hit(trace: Trace, start: int, breakpoints: Breakpoints) -> Hit | None:
    """The first condition met from step ``start`` on."""
    for position in range(max(0, start), len(trace.steps)):
        if found := hits(trace, position, breakpoints):
            return replace(found[0])
    return None


def _number(value: Any, name: str, low: float, high: float) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"The {name} to stop at, {shown(value)}, is not a number; or leave it empty.") from None
    if not low <= number <= high or math.isnan(number):
        raise SettingsError(f"The {name} to stop at is {number:g}; give one from {low:g} to {high:g}.")
    return number


def _parted(step: Step) -> tuple[str, int] | None:
    """What to say where another verifier took another path, and the last node before they part."""
    driver = step.verdicts[step.driver]
    others = [name for name, verdict in step.verdicts.items() if verdict.path != driver.path]
    if not others:
        return None
    paths = [verdict.path for verdict in step.verdicts.values()]
    shared = _shared_prefix(paths)
    node = shared[-1] if shared else 0
    listed = ", ".join(f"{name} {len(step.verdicts[name].path)}" for name in others)
    return f"{step.driver} accepted {len(driver.path)}, others went elsewhere after node {node}: {listed}.", node


def _completes(trace: Trace, position: int, text: str) -> int | None:
    """Which committed token of the step completes the text (its index), or None.

    Only as much of the output before the step is looked at as the text could span.
    """
    step = trace.steps[position]
    texts = dict(step.text_of())
    before: list[int] = []
    for earlier in reversed(trace.steps[:position]):
        texts = earlier.text_of() | texts
        before = [*earlier.committed, *before]
        # Tokens without text of their own (half a character) are why this is generous.
        if len(before) > 4 * len(text) + 16:
            break

    def written(count: int) -> str:
        return text_of_tokens([texts[token] for token in (*before, *step.committed[:count]) if token in texts])

    known = written(0)
    for count in range(1, len(step.committed) + 1):
        now = written(count)
        shared = len(_shared_prefix([known, now]))
        if now.find(text, max(0, shared - len(text) + 1)) >= 0:
            return count - 1
        known = now
    return None


def _node_of(step: Step, place: int) -> int:
    """The node that carries the committed token at this place; for the bonus, the node it was drawn at."""
    verdict = step.verdicts[step.driver]
    return verdict.path[place] if place < len(verdict.path) else verdict.end


def _shared_prefix(sequences: Sequence[Sequence[T]]) -> Sequence[T]:
    """What all of them begin with."""
    first = min(sequences, key=len)
    for place, item in enumerate(first):
        if any(sequence[place] != item for sequence in sequences):
            return first[:place]
    return first
