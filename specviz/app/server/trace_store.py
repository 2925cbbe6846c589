"""Recorded runs on the server: the ones used last are kept as values, the others packed.

A step of a small tree takes 280 kB as values and 15 kB packed; unpacking takes 4 ms of it. All sizes here are bytes of
the trace's JSON, which is about a fifth of what the values take and four times what the packed form takes.
"""

from __future__ import annotations

import itertools
import json
import threading
import weakref
import zlib
from collections import OrderedDict
from typing import Any

from pydantic import TypeAdapter

from specviz.trace.io import dump_trace
from specviz.trace.schema import FailedStep, Step, TokenText, Trace

MOST_UNPACKED = 24 * 1024 * 1024
"""Bytes of JSON that may be unpacked, all runs of all pages together."""


TEXTS_A_LINE = 500
"""Texts of a prompt's tokens that are unpacked at a time."""
TEXT_BYTES = 4
"""Memory of a head for each byte of its JSON: a character of a text takes up to so many."""


def head_of(trace: Trace) -> Trace:
    """The trace without what is as long as the run or its prompt: steps, failed steps, tokens and their texts. As
    values those of a file of 16 MB take 200 MB."""
    return trace.model_copy(update={"steps": (), "failed": None, **dict.fromkeys(_LISTS, ())})


def pack(trace: Trace) -> bytes:
    """A trace's JSON, compressed, in lines: the run without what is long, the failed step or null and those before
    it, the tokens of the prompt, how many lines of their texts follow, these, then every step."""
    first = trace.prompt_tokens[:1]
    short = {"prompt_tokens": first, "prompt_texts": tuple(text for text in trace.prompt_texts if text.id in first)}
    head = trace.model_copy(update={"steps": (), "failed": None, "failures": (), **short})
    texts = [trace.prompt_texts[i : i + TEXTS_A_LINE] for i in range(0, len(trace.prompt_texts), TEXTS_A_LINE)]
    parts = [dump_trace(head), _FAILED.dump_json((trace.failed, *trace.failures))]
    parts += [json.dumps(trace.prompt_tokens).encode(), str(len(texts)).encode(), *map(_TEXTS.dump_json, texts)]
    parts += [step.model_dump_json().encode() for step in trace.steps]
    return zlib.compress(b"\n".join(parts), level=1)


def unpack(packed: bytes) -> Trace:
    """The trace that was packed, which was a valid one, so that no limit is checked again. It is made line by line, so
    that others have their turn at the interpreter meanwhile."""
    first, failed, tokens, count, *rest = zlib.decompress(packed).split(b"\n")
    last, *before = _FAILED.validate_json(failed)
    known: dict[str, Any] = {"failed": last, "failures": tuple(before)}
    known["prompt_tokens"] = tuple(json.loads(tokens))
    known["prompt_texts"] = tuple(text for line in rest[: int(count)] for text in _TEXTS.validate_json(line))
    known["steps"] = tuple(Step.model_validate_json(line) for line in rest[int(count) :])
    return Trace.model_validate_json(first).model_copy(update=known)


def unpack_head(packed: bytes) -> Trace:
    """The same as :func:`head_of` of the trace that was packed."""
    return head_of(Trace.model_validate_json(zlib.decompress(packed).partition(b"\n")[0]))


class StoredTrace:
    """A trace that is packed while other traces are used. It is one value, shared by everything that refers to it.

    Args:
        before: an earlier state of the same run, so that only its new steps need to be measured.

    Attributes:
        id: the trace's.
        head: see :func:`head_of`.
        steps, tokens: how many the run has, and has put out.
        size: bytes of its JSON, about.
        number: tells it from all others, also from those that are gone.
        is_shared: whether it comes with specviz, and is the same value for all pages.
    """

    is_shared = False

    def __init__(self, trace: Trace, before: StoredTrace | None = None):
        self.id, self.head = trace.id, head_of(trace)
        self.steps, self.tokens = len(trace.steps), sum(len(step.committed) for step in trace.steps)
        self.size: int = len(dump_trace(trace)) if before is None else before.size + _bytes(trace, before.steps)
        self._trace: Trace | None = trace
        self._packed: bytes | None = None
        self._lock = threading.Lock()
        self.number = next(_NUMBERS)
        self._head_bytes = TEXT_BYTES * len(dump_trace(self.head))
        _UNPACKED.mark_used(self)

    @classmethod
    def of_packed(cls, packed: bytes, *, steps: int, tokens: int, size: int) -> StoredTrace:
        """A trace that :func:`pack` has packed, in another process perhaps; it is unpacked when it is first used."""
        stored = cls.__new__(cls)
        stored.head = unpack_head(packed)
        stored.id, stored.steps, stored.tokens, stored.size = stored.head.id, steps, tokens, size
        stored._trace, stored._packed = None, packed
        stored._lock, stored.number = threading.Lock(), next(_NUMBERS)
        stored._head_bytes = TEXT_BYTES * len(dump_trace(stored.head))
        return stored

    @property
    def trace(self) -> Trace:
        """The whole run, unpacked if need be."""
        with self._lock:
            trace = self._trace
            if trace is None:
                assert self._packed is not None
                trace = self._trace = unpack(self._packed)
        _UNPACKED.mark_used(self)
        return trace

    @property
    def held_bytes(self) -> int:
        """Bytes of the packed form and of the head; until there is one, what a recorded run takes. What is unpacked has
        a limit of its own."""
        return self._head_bytes + (self.size // 4 if self._packed is None else len(self._packed))

    @property
    def is_packed(self) -> bool:
        return self._trace is None

    @classmethod
    def shared(cls, trace: Trace) -> StoredTrace:
        """A trace that comes with specviz."""
        stored = cls(trace)
        stored.is_shared = True
        return stored

    def grow(self, trace: Trace) -> None:
        """Become a later state of the same run, for everything that refers to it. Only its new steps are measured."""
        with self._lock:
            self.size += _bytes(trace, self.steps)
            self.head, self.steps = head_of(trace), len(trace.steps)
            self.tokens = sum(len(step.committed) for step in trace.steps)
            self._trace, self._packed = trace, None
        _UNPACKED.mark_used(self)

    def pack(self) -> None:
        """Keep no more than the packed form; the packing itself is done once."""
        with self._lock:
            if self._packed is None:
                assert self._trace is not None
                self._packed = pack(self._trace)
            self._trace = None


class TraceLru:
    """Which traces are unpacked: those used last, as many as fit. The very last one is, however large.

    Args:
        most: bytes of JSON, all of them together.
    """

    def __init__(self, most: int):
        self._most, self._total = most, 0
        self._unpacked: OrderedDict[int, tuple[weakref.ref[StoredTrace], int]] = OrderedDict()
        self._lock = threading.RLock()
        """Reentrant, because a trace may be garbage-collected, and removed, at any line here."""

    @property
    def total(self) -> int:
        """Bytes of JSON that are unpacked now."""
        return self._total

    def mark_used(self, stored: StoredTrace) -> None:
        """Note that a trace was unpacked and used just now; those used longest ago are packed."""
        to_pack: list[StoredTrace | None] = []
        with self._lock:
            number = stored.number
            _, before = self._unpacked.get(number, (None, 0))
            self._unpacked[number] = (weakref.ref(stored, lambda _: self._remove(number)), stored.size)
            self._total += stored.size - before  # it may have grown
            self._unpacked.move_to_end(number)
            while self._total > self._most and len(self._unpacked) > 1:
                _, (oldest, size) = self._unpacked.popitem(last=False)
                self._total -= size
                to_pack.append(oldest())
        for trace in to_pack:
            if trace is not None:
                trace.pack()

    def _remove(self, number: int) -> None:
        with self._lock:
            if number in self._unpacked:
                _, size = self._unpacked.pop(number)
                self._total -= size


def _bytes(trace: Trace, first: int) -> int:
    parts = (*trace.steps[first:], *([trace.failed] if trace.failed else []), *trace.failures)
    return sum(len(part.model_dump_json()) for part in parts)


_TEXTS = TypeAdapter(tuple[TokenText, ...])
_FAILED = TypeAdapter(tuple[FailedStep | None, ...])
_LISTS = ("prompt_tokens", "prompt_texts", "end_tokens", "failures")
_NUMBERS = itertools.count()
_UNPACKED = TraceLru(MOST_UNPACKED)
