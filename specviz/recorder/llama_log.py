"""The verbose log of llama.cpp's server, or of its example speculative-simple, as a recording.

Two kinds of lines are read, whatever stands before them::

     - draft candidate   0, pos   0:   1234 (   0.987) ' the'
    slot update_slots: id  3 | task 0 | accepted 1/16 draft tokens, new n_tokens = 661

The candidates of a position are the draft's most likely tokens, with probabilities among those that its sampler kept;
the first of them is drafted. Newer versions name the sequence, ``seq_id 0``, which is the slot's ``id``. A log does not
say the prompt, and the server's not the token after the accepted ones: these stand as :data:`UNKNOWN`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from specviz.errors import TraceError
from specviz.recorder.imported import Head, PrintedStep, write_recording
from specviz.recorder.summaries import TOP
from specviz.trace.limits import MAX_TRACE_BYTES
from specviz.trace.recording import MOST_LINES
from specviz.trace.schema import LONGEST_TOKEN, MOST_NODES, TopK, cut

UNKNOWN = "‹not logged›"
_CANDIDATE = re.compile(
    r"(?:seq_id (?P<seq>\d{1,9}), )?draft candidate +(?P<rank>\d{1,4})(?P<tree> for seq +\d{1,9})?, "
    r"pos +(?P<pos>\d{1,6}): +(?P<id>\d{1,9}) \( *(?P<p>[01]\.\d{1,9})\) '(?P<text>.{0,400})"
)
_ACCEPTED = re.compile(
    r"(?:id +(?P<slot>\d{1,9}) \| task (?P<task>\d{1,12}) \| )?"
    r"accepted +(?P<kept>\d{1,6})/ *(?P<of>\d{1,6}) draft tokens"
    r"(?:, the last target token is: \((?P<last>\d{1,9})\))?"
)
_LONGEST_LINE = 2000
"""Characters of a line that are looked at."""


@dataclass
class _Draft:
    """Candidates by position: (token, probability), the most likely first."""

    line: int
    positions: list[list[tuple[int, float]]] = field(default_factory=list)


@dataclass
class _Decided:
    line: int
    draft: _Draft | None
    kept: int
    of: int
    last: int | None


def import_llama_log(data: bytes, path: str | os.PathLike[str], max_bytes: int = MAX_TRACE_BYTES) -> int:
    """Write the steps of a log as a recording, a request for each task; returns how many steps.

    Raises:
        TraceError: for a log that is too large or has no step, in one sentence; nothing is written then.
        SettingsError: if the recording cannot be written.
    """
    if len(data) > max_bytes:
        raise TraceError(f"This log is larger than {max_bytes >> 20} MB; cut the part out that matters.")
    texts: dict[int, str] = {}
    tasks: dict[str | None, list[_Decided]] = {}
    for task, decided in _decided(data.decode("utf-8", "replace"), texts):
        tasks.setdefault(task, []).append(decided)
    steps = [decided for some in tasks.values() for decided in some]
    if not any(decided.draft for decided in steps):
        raise TraceError(
            "This log has no step with its draft candidates; run llama-server or llama-speculative-simple with -v, "
            "and give what it prints."
        )
    if len(steps) > MOST_LINES:
        raise TraceError(f"This log has more than {MOST_LINES:,} steps; cut the part out that matters.")
    lasts = [decided.last for decided in steps if decided.last is not None]
    unknown = max([*texts, *lasts], default=0) + 1  # an id that no token of this log has
    texts[unknown] = UNKNOWN
    return write_recording(path, {task: _printed(some, texts, unknown) for task, some in tasks.items()})


def _decided(log: str, texts: dict[int, str]) -> Iterator[tuple[str | None, _Decided]]:
    """Task and step, line by line; ``texts`` learns those of the candidates."""
    waiting: dict[str | None, list[_Draft]] = {}
    for number, line in enumerate(log.split("\n"), start=1):
        line = line[:_LONGEST_LINE].rstrip("\r")
        if (found := _CANDIDATE.search(line)) is not None:
            if found["tree"]:
                raise TraceError(
                    f"Line {number} is of llama.cpp's example with trees, whose log does not say which were drafted; "
                    "let it print the lines of docs/engines.md instead."
                )
            _candidate(found, number, waiting.setdefault(found["seq"], []), texts)
        elif (found := _ACCEPTED.search(line)) is not None:
            kept, of = int(found["kept"]), int(found["of"])
            of = max(kept, of)  # some versions print 0 there
            if of > MOST_NODES - 1:
                raise TraceError(f"Line {number} has {of:,} drafted tokens, but at most {MOST_NODES - 1:,} are read.")
            drafts = waiting.get(found["slot"]) or waiting.get(None) or []
            if found["slot"] is None and len(waiting) == 1:  # the example's one sequence, which may be named
                (drafts,) = waiting.values()
            # Those that were too short to be tried are followed by another without a line of their own.
            fitting = next((i for i, draft in enumerate(drafts) if len(draft.positions) >= of), None)
            draft = None if fitting is None else drafts[fitting]
            del drafts[: len(drafts) if fitting is None else fitting + 1]
            last = None if found["last"] is None else int(found["last"])
            yield found["task"], _Decided(number, draft, kept, of, last)


def _candidate(found: re.Match[str], number: int, drafts: list[_Draft], texts: dict[int, str]) -> None:
    position, rank, token = int(found["pos"]), int(found["rank"]), int(found["id"])
    if position == rank == 0:
        drafts.append(_Draft(number))
    if not drafts or position > len(drafts[-1].positions):
        return  # the beginning of this draft is not in the log
    if position == len(drafts[-1].positions):
        drafts[-1].positions.append([])
    if len(drafts[-1].positions[position]) < TOP:
        drafts[-1].positions[position].append((token, min(1.0, float(found["p"]))))
    text = found["text"]
    # A text with a line break in it goes on in the next line, which is not read.
    texts[token] = cut(text.removesuffix("'") if text.endswith("'") else f"{text}\n", LONGEST_TOKEN)


def _printed(steps: list[_Decided], texts: dict[int, str], unknown: int) -> tuple[Head, list[tuple[int, PrintedStep]]]:
    head = Head(
        specviz_steps=1, engine="llama.cpp", rule="naive", lossless=True, prompt=(unknown,), texts={unknown: UNKNOWN}
    )
    root = unknown
    printed = []
    for one in steps:
        positions = one.draft.positions if one.draft else []
        tokens = [root, *(rows[0][0] for rows in positions[: one.of])]
        known = len(tokens)
        tokens += [unknown] * (one.of + 1 - known)
        bonus = unknown if one.last is None else one.last
        top = [_top(positions[node]) if node < len(positions) else None for node in range(one.of + 1)]
        q = [None, *(rows[0][1] for rows in positions[: one.of]), *([None] * (one.of + 1 - known))]
        printed.append(
            (
                one.line,
                PrintedStep(
                    tokens=tuple(tokens),
                    accepted=tuple(range(1, one.kept + 1)),
                    bonus=bonus,
                    proposal="top_k",
                    q=tuple(q),
                    top=tuple(top),
                    texts={token: texts[token] for token in {*tokens, bonus, *_tokens_of(top)} if token in texts},
                ),
            )
        )
        root = bonus
    return head, printed


def _top(rows: list[tuple[int, float]]) -> TopK:
    return TopK(ids=tuple(token for token, _ in rows), probs=tuple(p for _, p in rows))


def _tokens_of(top: list[TopK | None]) -> Iterator[int]:
    for one in top:
        yield from () if one is None else one.ids
