"""What an audit says: findings, and checks that could not run; and what each check is about."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from specviz.display import printable, upright

Weight = Literal["error", "warning", "note"]
"""``error``: the text is not what it should be, or the cache is wrong. ``warning``: the draft is not what it could be,
which costs acceptance. ``note``: nothing is wrong; a number to know."""

WEIGHTS: tuple[Weight, ...] = ("error", "warning", "note")

Place = Literal["text", "tree", "decisions", "bonus", "rows", "mask", "cache", "draft cache", "findings"]
"""The part of the page that shows it; ``findings``: their list, as it stands nowhere else."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        check: its name, as docs/audit.md lists it.
        step: index of the step, from 0 on; None where it is about the whole run.
        sentence: what was found, with the numbers. For people, who count steps from 1 on, as on the page.
        meaning: what it usually means.
    """

    check: str
    weight: Weight
    step: int | None
    node: int | None
    sentence: str
    meaning: str
    place: Place


@dataclass(frozen=True)
class NotRun:
    """A check that could not run in any step, and what it would have needed."""

    check: str
    lacked: str


@dataclass(frozen=True)
class About:
    """What a check is about."""

    weight: Weight
    place: Place
    meaning: str


_POSITIONS = "position ids count slots, or start at 1, instead of the text's length plus the node's depth"
_MASK = "the mask is built from slot numbers instead of ancestors, or another request's columns are in it"
_PROCESSING = (
    "temperature, top-k, top-p or eta cutoff are said otherwise to the recorder ({}=) than the loop has them; or "
    "something else changes the logits first, e.g. a penalty"
)
_PROCESSORS = (
    "one history a request is kept for the whole tree, or processors are put on the first row alone: every node's row "
    "must be processed by the text on its own path, else what is emitted is not what the target would generate; or the "
    "processors are said otherwise to the recorder (processors=, processor_mode=) than the loop has them"
)
_COMPACTION = (
    "the cache was cut to its new length without gathering the accepted slots first, or they were gathered in another "
    "order, or it was not cut at all"
)
_DRAFT_COMPACTION = f"{_COMPACTION}; or a drafted token was never fed, so that all later ones stand one slot too early"

ABOUT: Mapping[str, About] = {
    "failed_steps": About(
        "error",
        "tree",
        "the loop, or a model, raised inside a step; what it had changed by then, such as a cache, may have stayed so",
    ),
    "calls": About(
        "warning",
        "tree",
        "the loop tells the recorder something else than it means; what is recorded of that step has gaps, and other "
        "findings may come from them",
    ),
    "path": About("error", "tree", "parents and accepted nodes are numbered differently"),
    "root": About(
        "error",
        "text",
        "the tree was drafted from another token than the last committed one, often from the one before; or the engine "
        "appended another number of tokens to its text than it said: one was dropped, or put in twice",
    ),
    "committed_text": About(
        "error", "text", "what is appended is not read from the accepted path, or the bonus is left out or put in twice"
    ),
    "text_end": About(
        "error", "text", "the end of sequence, or a stop string, is looked for in the last token only, or not at all"
    ),
    "cache_audit": About("error", "cache", "the cache holds what another text, position or mask has left there"),
    "compaction": About("error", "cache", _COMPACTION),
    "mask": About("error", "mask", _MASK),
    "positions": About("error", "mask", _POSITIONS),
    "sums": About(
        "error",
        "rows",
        "rows were filtered or cut and not renormalised, or scores were given as probabilities",
    ),
    "target_rows": About(
        "error",
        "rows",
        "the target's cache, mask or positions are not those of the text: slots that were not gathered, positions by "
        "slot, a mask that leaks; or the row is that of another node or of another request (shifted or swapped); or "
        "rows that were read after they were changed in place, or other weights",
    ),
    "processing": About("error", "rows", _PROCESSING.format("sampling")),
    "processors": About("error", "rows", _PROCESSORS),
    "thresholds": About(
        "error",
        "decisions",
        "the rows that are compared are not those that were recorded: another temperature, a draft row that was not "
        "renormalised after a sibling was drawn, the target's row that was not replaced by its residual (clamped at 0 "
        "and scaled to 1) after a sibling was rejected, or rows read after they were changed in place",
    ),
    "decisions": About("error", "decisions", "the comparison is the wrong way round, or the coin of another node"),
    "bonus_row": About(
        "error",
        "bonus",
        "the bonus comes from a stale row: the residual of the last rejected sibling was not taken, or the target's "
        "row was",
    ),
    "bonus_token": About("error", "bonus", "the bonus is drawn from another row or another vocabulary than the rule's"),
    "rejudged": About("error", "decisions", "the engine's rule is not the one that it says it has"),
    "siblings": About(
        "error", "tree", "siblings are drawn with replacement, but judged as if drawn without; or a row is reused"
    ),
    "draft_calibration": About(
        "error",
        "findings",
        "below 0: drafts are taken as the most likely tokens, or at a lower temperature, but judged by a flatter row; "
        "above 0: they are drawn at a higher one. Acceptance falls, and what is emitted is not the target's law",
    ),
    "bonus_calibration": About(
        "error",
        "findings",
        "below 0: the bonus is taken as the most likely token of its row, or drawn at a lower temperature; above 0: it "
        "is drawn at a higher one, or from another row than was said",
    ),
    "committed_calibration": About(
        "error",
        "findings",
        "too surprising (above 0): drawn from a flatter row, e.g. at a higher temperature; not surprising enough "
        "(below 0): from a sharper one, or likely tokens are accepted too readily (typical acceptance, argmax)",
    ),
    "draft_rows": About(
        "warning",
        "rows",
        "the draft's cache is not that of the text: too short, not cut back, or shifted. The text stays right, and "
        "acceptance falls",
    ),
    "draft_processing": About("warning", "rows", _PROCESSING.format("draft_sampling")),
    "draft_processors": About("warning", "rows", _PROCESSORS),
    "top_k_order": About("warning", "tree", "children are sorted by another score than the draft's row"),
    "draft_compaction": About("warning", "draft cache", _DRAFT_COMPACTION),
    "draft_mask": About("warning", "draft cache", _MASK),
    "draft_positions": About("warning", "draft cache", _POSITIONS),
}
"""Every check by name, those first whose faults cause others."""

HEAD_ROWS = (
    "the head reads other states than it was trained on (another layer, another token, drafted keys that stayed), or "
    "it is run otherwise (a norm, the rotary base, its embeddings, the order of its columns). The text stays right, "
    "and acceptance falls"
)
"""What ``draft_rows`` means where the draft is a head."""


def in_order(findings: list[Finding]) -> list[Finding]:
    """By weight, then causes before what they cause."""
    names = list(ABOUT)
    return sorted(findings, key=lambda one: (WEIGHTS.index(one.weight), names.index(one.check)))


def report(found: Sequence[Finding | NotRun]) -> str:
    """For people: findings by weight, then what could not run."""
    lines = []
    for one in found:
        if not isinstance(one, Finding):
            lines.append(f"not run  {one.check}: it lacked {one.lacked}")
            continue
        lines.append(f"{one.weight:<8} {one.check}: {one.sentence}")
        if one.weight != "note":
            lines += [f"         usually: {one.meaning}", f"         on the page: {one.place}"]
    return "\n".join([*lines, summary(found)])


def summary(found: Sequence[Finding | NotRun]) -> str:
    """How many errors and warnings there are."""
    numbers = {weight: sum(isinstance(one, Finding) and one.weight == weight for one in found) for weight in WEIGHTS}
    said = [f"{numbers[weight]} {weight}{'' if numbers[weight] == 1 else 's'}" for weight in ("error", "warning")]
    return ", ".join(said)


class Audited(list[Finding | NotRun]):
    """What an audit says, as a value that shows itself: as text, and in a notebook as a table."""

    def __repr__(self) -> str:
        return printable(report(self))

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr>{''.join(f'<td>{_cell(text)}</td>' for text in _columns(one))}</tr>" for one in self)
        heads = "".join(f"<th>{name}</th>" for name in ("weight", "check", "what was found", "usually", "on the page"))
        return f"<table><caption>{summary(self)}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _columns(one: Finding | NotRun) -> tuple[str, ...]:
    if isinstance(one, NotRun):
        return "not run", one.check, f"it lacked {one.lacked}", "", ""
    usual = (one.meaning, one.place) if one.weight != "note" else ("", "")
    return one.weight, one.check, one.sentence, *usual


def _cell(text: str) -> str:
    return html.escape(upright(text))
