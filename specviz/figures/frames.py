"""Frames and blocks: what travels to the browser.

A *frame* is everything the page shows of one step. A *block* is what one message carries: the run it belongs to and
some of its frames. A page keeps the frames it has, keyed by the run's id and the step's position, so a running decode
sends each step once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from specviz.display import upright
from specviz.errors import TraceError
from specviz.figures.advice import walk_end
from specviz.figures.block_types import Block, BlockHead, Refused, Run
from specviz.figures.cache import cache_columns, lag, rules_of, settled_slots, states_read
from specviz.figures.cache_types import Cache
from specviz.figures.engine import recorded_from
from specviz.figures.failures import failed_columns
from specviz.figures.figure_style import verifier_looks
from specviz.figures.findings import findings_of
from specviz.figures.frame_types import Frame, Tolerance
from specviz.figures.node import TokenTable, commit_columns, draft_sums, node_columns, summary, verdict_rows
from specviz.figures.phases import draft_ran, step_phases
from specviz.figures.text import pieces, prompt_text, short_options, token_of
from specviz.figures.text_end import text_end
from specviz.figures.totals import run_totals
from specviz.figures.tree import tree_columns
from specviz.figures.tree_order import folded_nodes
from specviz.trace.identity import short_weights
from specviz.trace.metrics import QUANTIZED, tolerances
from specviz.trace.schema import CacheChange, ModelInfo, Settings, Timings, Trace

FRAME_VERSION = 2
PROMPT_CHARACTERS = 4000


def run_header(trace: Trace) -> Run:
    """What does not change from step to step: models, settings, prompt, looks."""
    names = [choice.name for choice in trace.settings.verifiers] if trace.settings else []
    for step in trace.steps:
        names += [name for name in step.verdicts if name not in names]
    texts, tokens = trace.prompt_text_of, trace.prompt_tokens[-PROMPT_CHARACTERS:]
    prompt = "".join(pieces(token_of(token, texts) for token in tokens))
    ran = {draft_ran(step, rules_of(trace, i, "draft")) for i, step in enumerate(trace.steps)}
    whole = len(tokens) == len(trace.prompt_tokens) and len(prompt) <= PROMPT_CHARACTERS
    return {
        "id": trace.id,
        "created": trace.created,
        "version": trace.specviz_version,
        "steps": len(trace.steps),
        "endReason": trace.end_reason,
        "endMessage": trace.end_message,
        "failed": failed_columns(trace),
        "asked": prompt_text(trace)[:PROMPT_CHARACTERS],
        "prompt": prompt if whole else "… " + prompt[-PROMPT_CHARACTERS:],
        "promptTokens": len(trace.prompt_tokens),
        "models": {"target": _model(trace.models.target), "draft": _model(trace.models.draft)},
        "weights": {"target": _weights(trace.models.target), "draft": _weights(trace.models.draft)},
        "engine": recorded_from(trace),
        "request": trace.request,
        "settings": _settings(trace.settings) if trace.settings else None,
        "driver": trace.settings.driver if trace.settings else trace.who,
        "draftRan": True if True in ran else False if ran == {False} else None,
        "verifiers": verifier_looks(names),
        "totals": run_totals(trace, names),
        "findings": findings_of(trace),
    }


def _model(model: ModelInfo | None) -> dict[str, Any] | None:
    return None if model is None else model.model_dump()


def _weights(model: ModelInfo | None) -> str:
    return "not recorded" if model is None else short_weights(model)


def _timings(timings: Timings | None) -> dict[str, float | None] | None:
    if timings is None:
        return None
    return {name: None if value is None else round(value, 5) for name, value in timings.model_dump().items()}


def _settings(settings: Settings) -> dict[str, Any]:
    values = settings.model_dump(mode="json")
    processors = values["processors"]["chosen"] if values.get("processors") else []
    for choice in (values["builder"], *values["verifiers"], *processors):
        choice["options"] = short_options(choice["options"])
    return values


def step_frame(trace: Trace, position: int) -> Frame:
    """The frame of ``trace.steps[position]``."""
    step, engine = trace.steps[position], trace.engine.name if trace.engine else None
    of_head = rules_of(trace, position, "draft")
    tokens = TokenTable(step)
    known = tolerances(trace.models_of(position))
    # Of a model that was not named nothing tells how coarse its numbers are.
    tolerance: Tolerance = {"target": known.get("target", QUANTIZED), "draft": known.get("draft", QUANTIZED)}
    shown = {*range(len(step.tree.nodes))} - folded_nodes(step)
    return {
        "step": position,
        "index": step.index,
        "context": step.context,
        "driver": step.driver,
        "summary": summary(step, position),
        "builder": step.tree.builder,
        "proposal": step.tree.proposal,
        "draftRan": draft_ran(step, of_head),
        "draftModel": _model(step.models.draft) if step.models and step.models.draft != trace.models.draft else None,
        "endReason": step.end_reason,
        "textEnd": text_end(trace, position),
        "prefilled": step.prefilled,
        "timings": _timings(step.timings),
        "tree": tree_columns(step, engine),
        "nodes": node_columns(step, tokens, shown),
        "verdicts": verdict_rows(
            step, tokens, shown, trace.end_tokens, trace.processors_of(position), trace.least_in(position)
        ),
        "phases": step_phases(step, shown, of_head),
        "commit": commit_columns(trace, position),
        "tolerance": tolerance,
        "caches": {
            "target": _cache(trace, position, "target", tolerance["target"]),
            "draft": _cache(trace, position, "draft", tolerance["draft"]),
        },
        "sums": draft_sums(step),
        "walkEnd": walk_end(step),
        "tokens": tokens.used,
    }


def _cache(trace: Trace, position: int, name: Literal["target", "draft"], tolerance: float) -> Cache | None:
    step = trace.steps[position]
    change: CacheChange | None = getattr(step.caches, name)
    if change is None:
        return None
    before = trace.steps[position - 1] if position and not step.prefilled else None
    change_before: CacheChange | None = getattr(before.caches, name) if before else None
    lag_before = lag(before, change_before, rules_of(trace, position - 1, name)) if before and change_before else 0
    states = states_read(trace, position) if name == "draft" else None
    rules = rules_of(trace, position, name)
    return cache_columns(step, change, settled_slots(trace, position, name), tolerance, lag_before, rules, states)


def block(trace: Trace, positions: Iterable[int], *, go: int | None = None) -> Block:
    """The run and the frames at ``positions``; ``go`` asks the page to show that position."""
    wanted = [position for position in positions if 0 <= position < len(trace.steps)]
    return {**block_head(trace, go), "frames": [step_frame(trace, position) for position in wanted]}


def block_head(trace: Trace, go: int | None = None) -> BlockHead:
    """A block without its frames."""
    return {"version": FRAME_VERSION, "run": run_header(trace), "go": go}


def block_parts(head: Mapping[str, Any], frames: Iterable[str]) -> Iterator[str]:
    """The text of a block in parts, from its head and the text of each of its frames."""
    yield dump_block(head).removesuffix("}") + ',"frames":['
    for number, frame in enumerate(frames):
        yield f",{frame}" if number else frame
    yield "]}"


def fitting_block(
    trace: Trace, positions: Iterable[int], room: int, largest: int, *, go: int | None = None, **more: Any
) -> str:
    """A block as text, with as many of the frames at ``positions``, in this order, as fit.

    Args:
        room: bytes that all frames together may take; the first one may take more.
        largest: bytes that one frame may take, and what is said of the run. In the place of a larger frame stands,
            in ``refused``, its position with a sentence.
        more: what else the block says. ``left`` has the positions for which there was no room: a viewer asks for them.

    Raises:
        TraceError: if what is said of the whole run is larger than ``largest``.
    """
    frames: list[str] = []
    refused: list[Refused] = []
    size, left = 0, [position for position in dict.fromkeys(positions) if 0 <= position < len(trace.steps)]
    while left:
        text = dump_block(step_frame(trace, left[0]))
        # No character takes more than four bytes.
        length = len(text) if len(text) > largest else len(text.encode())
        if length > largest:
            refused.append({"step": left.pop(0), "text": TOO_LARGE.format(length / 1e6, largest / 1e6)})
            continue
        if frames and size + length > room:
            break
        frames.append(text)
        size += length
        left.pop(0)
    head = {**block_head(trace, go), "refused": refused, "left": left, **more}
    if len(dump_block(head).encode("utf-8", "surrogatepass")) > largest:
        raise TraceError(
            f"What there is to say of this whole run is larger than the {largest / 1e6:g} MB that the page sends at "
            "once; record it with fewer verifiers, or export it on the command line."
        )
    return "".join(block_parts(head, frames))


TOO_LARGE = (
    "The frame of this step has {:.1f} MB, more than the {:g} MB that the page sends at once; save the run as a trace "
    "file and open its HTML page, which python -m specviz export writes."
)


def dump_block(value: Mapping[str, Any]) -> str:
    """A block as compact JSON that may stand inside a ``<script>`` element: no ``<`` and no line separator is left.

    All that a page draws comes this way, so nothing in it turns text around: see :func:`specviz.display.upright`.
    """
    text = upright(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
