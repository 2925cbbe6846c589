"""Steps that an engine has printed, written as a recording: a loop's JSON lines, or what a reader of a log makes of it.

A file of JSON lines, one object each. The first says what it is, a :class:`Head`; each of the others is a
:class:`PrintedStep`. docs/engines.md shows the lines of C++ that print one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from specviz.errors import TraceError, shown
from specviz.recorder.arrays import WrongCall, snapshot
from specviz.recorder.assemble import assemble
from specviz.recorder.build import Texts, build_step
from specviz.recorder.checks import examine
from specviz.recorder.recording import RecordingFile, new_id
from specviz.recorder.said import Said, VerifyCall
from specviz.trace.limits import MAX_TRACE_BYTES, check_density, outermost
from specviz.trace.recording import MOST_LINES, Run
from specviz.trace.schema import LONGEST_PROMPT, MOST_NODES, Engine, Models, Row, Step, Timings, TopK, cut
from specviz.trace.values import Count, Many, Name, Probability, Proposal, TokenString, Value
from specviz.verifier_styles import STYLES

Texted = Annotated[dict[Count, TokenString], Field(max_length=MOST_NODES)]
Number = Annotated[float, Field(allow_inf_nan=False)]
_NONE = np.zeros(0, dtype=np.int64)


class Head(Value):
    """The first line of a printed file: whose steps follow."""

    specviz_steps: Literal[1]
    engine: Name
    prompt: Annotated[Many[Count], Field(min_length=1)]
    """The token ids that decoding began with."""
    rule: Name | None = None
    """The verifier that the engine says it has, by specviz's name where there is one."""
    lossless: bool | None = None
    texts: Texted = Field(default_factory=dict)
    """Token id -> its text; each step may add some."""
    end_tokens: Many[Count] = ()


class PrintedStep(Value):
    """One step, as an engine prints it. What is left out is not recorded."""

    tokens: Annotated[Many[Count], Field(min_length=1, max_length=MOST_NODES)]
    """Of every node; node 0 is the root, the last committed token."""
    parents: Annotated[Many[int], Field(max_length=MOST_NODES)] | None = None
    """Of every node, which comes before it; of the root -1. Left out: the tokens are a chain."""
    accepted: Annotated[Many[Count], Field(max_length=MOST_NODES)]
    """The accepted nodes below the root, downwards."""
    bonus: Count | None = None
    committed: Annotated[Many[Count], Field(max_length=MOST_NODES)] | None = None
    """What was appended to the text; left out: the tokens of the accepted nodes, and the bonus."""
    proposal: Proposal | None = None
    p: Annotated[Many[Probability | None], Field(max_length=MOST_NODES)] | None = None
    """Of every node: the probability of its token in its parent's target row; null for the root, and where unknown."""
    q: Annotated[Many[Probability | None], Field(max_length=MOST_NODES)] | None = None
    """The same of the draft's."""
    top: Annotated[Many[TopK | None], Field(max_length=MOST_NODES)] | None = None
    """Of every node: the most likely tokens in its draft row."""
    coins: Annotated[dict[Annotated[int, Field(ge=-1)], Probability], Field(max_length=MOST_NODES)] = Field(
        default_factory=dict
    )
    """Node -> the uniform number of its decision, in the order of the decisions; -1: that of the bonus."""
    thresholds: Annotated[dict[Count, Number], Field(max_length=MOST_NODES)] = Field(default_factory=dict)
    """Node -> what that was compared with."""
    texts: Texted = Field(default_factory=dict)


def read_printed(data: bytes, max_bytes: int = MAX_TRACE_BYTES) -> Iterator[tuple[int, Head | PrintedStep]]:
    """The lines of a printed file, each with its number. A torn last line is dropped.

    Raises:
        TraceError: for a file or a line that is none, in one sentence.
    """
    if len(data) > max_bytes or data.count(b"\n") > MOST_LINES:
        raise TraceError(
            f"This file is larger than {max_bytes >> 20} MB, or has more than {MOST_LINES:,} lines; print fewer steps."
        )
    check_density(data, max_bytes)
    lines = data.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            whole = outermost(line, max_bytes) is not None
        except (ValueError, RecursionError):
            whole = False
            if 1 < number == len(lines) and not data.endswith(b"\n"):
                return
        if not whole:
            raise TraceError(f"Line {number} is no JSON object; docs/engines.md shows the lines to print.")
        kind = Head if number == 1 else PrintedStep
        try:
            yield number, kind.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "it"
            raise TraceError(f"Line {number}: {where[:100]}: {first['msg'][:200]}; docs/engines.md shows it.") from None


def import_printed(data: bytes, path: str | os.PathLike[str]) -> int:
    """Write a printed file as a recording; returns how many steps it has.

    Raises:
        TraceError: for a file that is none, before the recording is written.
        SettingsError: if that cannot be written.
    """
    lines = [*read_printed(data)]
    head = lines[0][1]
    assert isinstance(head, Head)
    return write_recording(path, {None: (head, [(n, step) for n, step in lines if isinstance(step, PrintedStep)])})


def write_recording(
    path: str | os.PathLike[str], requests: Mapping[str | None, tuple[Head, Iterable[tuple[int, PrintedStep]]]]
) -> int:
    """Write requests, each with its steps and the numbers of their lines, as a recording. Returns how many steps."""
    parts: list[tuple[str | None, Run | Step]] = []
    for name, (head, steps) in requests.items():
        parts += [(name, part) for part in _request(head, steps)]
    file = RecordingFile(path, new_id())
    for name, part in parts:
        file.add(name, part)
    file.close()
    return sum(isinstance(part, Step) for _, part in parts)


def _request(head: Head, steps: Iterable[tuple[int, PrintedStep]]) -> Iterator[Run | Step]:
    if head.engine in STYLES:
        raise TraceError(f"An engine cannot be called {shown(head.engine)}, as one of specviz's verifiers is.")
    known = dict(head.texts)
    texts = Texts(lambda tokens: "".join(known.get(token, f"‹{token}›") for token in tokens))
    text = [*head.prompt]
    yield Run(
        engine=Engine(name=head.engine, rule=head.rule, lossless=head.lossless),
        models=Models(target=None, draft=None),
        prompt=cut(texts.whole(text), LONGEST_PROMPT),
        prompt_tokens=tuple(text),
        prompt_texts=texts.of(text),
        end_tokens=tuple(sorted({*head.end_tokens})),
    )
    for index, (number, printed) in enumerate(steps):
        known.update(printed.texts)
        step = _step(head, printed, number, index, text, texts)
        text += step.committed
        yield step


def _step(head: Head, printed: PrintedStep, number: int, index: int, text: list[int], texts: Texts) -> Step:
    size = len(printed.tokens)
    for name in ("p", "q", "top"):
        if (said := getattr(printed, name)) is not None and len(said) != size:
            raise TraceError(f"Line {number}: there are {len(said)} entries of {name} for {size} nodes.")
    said = Said(
        has_tree=True,
        tokens=snapshot([*printed.tokens]),
        parents=None if printed.parents is None else snapshot([*printed.parents]),
        proposal=printed.proposal,
        verify=VerifyCall(
            snapshot([*printed.accepted] or _NONE),
            None if printed.bonus is None else snapshot(printed.bonus),
            None if printed.committed is None else snapshot([*printed.committed] or _NONE),
            dict(printed.coins),
            dict(printed.thresholds),
            None,
        ),
    )
    wrong: list[WrongCall] = []
    assembled = assemble(said, index, text, (None, None), wrong.append)
    if wrong:
        raise TraceError(f"Line {number}: {wrong[0]}.")
    assembled.raw.rule, assembled.raw.lossless = head.rule, head.lossless
    examined = examine(assembled.raw)
    step = build_step(
        assembled.raw,
        assembled.connected,
        head.engine,
        texts,
        examined.checks,
        Timings(total=0.0),
        verdicts=examined.verdicts,
    )
    nodes = tuple(node.model_copy(update=_told(printed, node.id)) for node in step.tree.nodes)
    tree = step.tree.model_copy(update={"nodes": nodes})
    return step.model_copy(update={"tree": tree, "timings": None, "prefilled": None})


def _told(printed: PrintedStep, node: int) -> dict[str, Any]:
    """What stands of a node besides its token."""
    told: dict[str, Any] = {}
    if node and printed.p is not None:
        told["target_prob"] = printed.p[node]
    if node and printed.q is not None:
        told["draft_prob"] = printed.q[node]
    if printed.top is not None and (top := printed.top[node]) is not None:
        told["draft"] = Row(entropy=None, raw=None, processed=top)
    return told
