"""What a loop says of one step: an explicit object, and the same calls where nothing is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal

from specviz.errors import shown
from specviz.recorder.about import meant_rule
from specviz.recorder.arrays import Snapshot, WrongCall, snapshot
from specviz.recorder.cache_reading import CacheReader
from specviz.recorder.raw_step import BONUS
from specviz.recorder.reports import Reports
from specviz.recorder.said import RowsCall, Said, VerifyCall
from specviz.trace.schema import BonusKind, Proposal

PROPOSALS = ("without_replacement", "with_replacement", "top_k")
SOURCES = ("target", "residual", "truncated", "argmax")


_NOT_OPEN = {
    "made": "the step has not begun, so nothing of it is recorded; write: with rec.step() as step:",
    "ended": "the step has ended, and this call is not recorded; call it inside the with-block",
}


class StepRecord:
    """One step of another engine, for ``with recorder.step() as step:``.

    Every call but :meth:`tree` and :meth:`verify` is optional, and their order is free. Arrays may be lists, numpy
    arrays or torch tensors of any format and device, with or without leading dimensions of 1; they are copied inside
    the call, so the engine may change them afterwards. Token ids are those of the target.
    """

    def __init__(
        self,
        request: str | None,
        prefilled: int | None,
        fused_prefill: bool,
        reader: CacheReader,
        report: Reports,
        open_steps: set[str | None],
        finish: Callable[[StepRecord, BaseException | None], None],
    ):
        self.request = request
        self.prefilled, self.fused_prefill = prefilled, fused_prefill
        self._reader, self._report, self._open, self._finish = reader, report, open_steps, finish
        self._state: Literal["made", "open", "ended"] = "made"
        self.said = Said()
        self.rule: str | None = None
        self.source: BonusKind | None = None
        self.seconds = 0.0
        self.own_seconds = 0.0
        """Of them, inside the recorder's calls."""
        self.wrong: list[str] = []
        """Calls that could not be recorded."""
        self._began = 0.0

    def __enter__(self) -> StepRecord:
        if self.request in self._open:
            which = "" if self.request is None else f" of the request {shown(self.request)}"
            sentence = f"step(): it begins before the last step{which} has ended; "
            self._tell("step", "nested", sentence + "end that first, or name the requests of a batch with request=")
        self._open.add(self.request)
        self._state = "open"
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        self.seconds = time.perf_counter() - self._began
        self._open.discard(self.request)
        self._state = "ended"
        self._finish(self, error)
        return False

    # --------------------------------------------------------------------------------------------------- the calls

    def tree(self, tokens: Any, parents: Any = None) -> None:
        """The drafted tree.

        Args:
            tokens: [n], the token of every node. Node 0 is the root, the last committed token.
            parents: [n], the parent of every node, which comes before it; of the root -1. None: a chain.
        """
        with self._call("tree"):
            if self.said.has_tree:
                self._tell("tree", "twice", "tree(): it was called twice in one step; the last call counts")
            self.said.has_tree = True
            self.said.tokens, self.said.parents = snapshot(tokens), _snapshot(parents)

    def draft(
        self,
        probs: Any = None,
        *,
        logits: Any = None,
        nodes: Any = None,
        proposal: Proposal | None = None,
        vocabulary: Any = None,
        positions: Any = None,
        mask: Any = None,
        slots: Any = None,
    ) -> None:
        """The draft's rows, of the nodes that it ran; may be called for each level of a tree.

        Args:
            probs: [m, V], the distributions that siblings were proposed from.
            logits: [m, V], what the draft returned. Without ``probs`` they are made of it, by the recorder's
                ``draft_sampling``.
            nodes: [m], whose rows they are; None: of all nodes, or of those that have children, in order.
            proposal: how siblings were proposed: drawn ``without_replacement``, ``with_replacement``, or the ``top_k``.
            vocabulary: [V], the target's id of each column, of a draft on a part of the vocabulary.
            positions, mask, slots: as in :meth:`target`, for these nodes.
        """
        with self._call("draft"):
            self.said.proposal = self._one_of("draft", "proposal", proposal, PROPOSALS) or self.said.proposal
            if vocabulary is not None:
                self.said.vocabulary = snapshot(vocabulary)
            self.said.draft.append(_rows_call(probs, logits, nodes, positions, mask, slots))

    def target(
        self,
        probs: Any = None,
        *,
        logits: Any = None,
        nodes: Any = None,
        positions: Any = None,
        mask: Any = None,
        slots: Any = None,
    ) -> None:
        """The target's rows.

        Args:
            probs: [n, V], the processed distributions that are verified against.
            logits: [n, V], what the target returned. Without ``probs`` they are made of it, by the recorder's
                ``sampling``.
            nodes: [n], whose rows they are; None: of all nodes, in order.
            positions: [n], the position id of each of these nodes.
            mask: [n, slots], what each of them may attend to, its own slots last and in the same order: truth values,
                numbers of which 0 hides, or numbers with a fraction that are added to scores, of which 0 shows.
            slots: the cache slot of each of these nodes, a list or node -> slot. None: one after the other, at the end
                of the cache.
        """
        with self._call("target"):
            self.said.target.append(_rows_call(probs, logits, nodes, positions, mask, slots))

    def verify(
        self,
        *,
        accepted: Any,
        bonus: Any = None,
        committed: Any = None,
        rule: str | None = None,
        coins: Any = None,
        thresholds: Any = None,
        bonus_row: Any = None,
        source: BonusKind | None = None,
    ) -> None:
        """What the engine decided.

        Args:
            accepted: the accepted nodes below the root, downwards.
            bonus: the token after them.
            committed: what was appended to the text; None: the tokens of the accepted nodes, and the bonus.
            rule: the verifier that the engine says it has, by specviz's name where there is one; None: the recorder's.
            coins: node -> the uniform number of its decision, in the order of the decisions, or a list with a place for
                every node, NaN where none was used; of the key -1 or None that of the bonus.
            thresholds: node -> what that was compared with, e.g. p / q, likewise.
            bonus_row: [V], what the bonus was drawn from.
            source: ``target``, ``residual``, ``truncated`` or ``argmax``: what that row is.
        """
        with self._call("verify"):
            if meant := meant_rule(rule):
                self._tell("verify", "rule", f"verify(): {meant}")
            self.rule, self.source = rule, self._one_of("verify", "source", source, SOURCES)
            self.said.verify = VerifyCall(
                snapshot(accepted),
                _snapshot(bonus),
                _snapshot(committed),
                self._numbers(coins, "coins"),
                self._numbers(thresholds, "thresholds"),
                _snapshot(bonus_row),
            )

    @contextmanager
    def cache(self, which: Literal["target", "draft"], cache: Any, *, length: int, row: int = 0) -> Iterator[None]:
        """Read a KV cache before and after a block that changes it.

        Args:
            which: whose it is.
            cache: a ``Cache`` of transformers, a list of (keys, values), each [batch, heads, slots, size], or a
                function that gives one of these. A list only where its tensors are changed in place: after a crop it
                is stale.
            length: slots that were in it before this step. Those from there on were written in this step: committed
                tokens that were fed late, then nodes.
            row: of the batch.
        """
        before = None
        with self._call("cache"):
            if which not in ("target", "draft"):
                raise WrongCall(f"cache(): there is no {shown(which)} cache; say target or draft", "which")
            first = self.said.caches.get(which)
            before = first[0] if first else self._reader.read(cache, int(length), int(row))
            if not 0 <= before.start <= before.length:
                held, before = before.length, None
                raise WrongCall(
                    f"cache(): length={length}, but the {which}'s cache has {held} slots; say how many were in it "
                    "before this step",
                    "length",
                )
        yield  # what the block raises is not caught: the step is recorded as far as it got
        with self._call("cache"):
            if before is not None:
                self.said.caches[which] = before, self._reader.read(cache, before.start, int(row))

    def _one_of(self, call: str, what: str, given: Any, names: tuple[str, ...]) -> Any:
        """What was given if it is one of these; else it counts as not said."""
        if given is None or given in names:
            return given
        self._tell(call, what, f"{call}(): there is no {what} {shown(given)}; say {', '.join(names)}")
        return None

    def _numbers(self, values: Any, what: str) -> dict[int, float] | Snapshot | None:
        if not isinstance(values, Mapping):
            return _snapshot(values)
        try:
            return {BONUS if node is None else int(node): float(x) for node, x in values.items()}
        except (TypeError, ValueError) as error:
            self._tell("verify", what, f"verify(): {what} should be node -> number ({str(error)[:80]})")
            return None

    def _tell(self, call: str, kind: str, sentence: str) -> None:
        self.wrong.append(sentence)
        self._report(call, kind, sentence)

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            kept = self.said, self.rule, self.source
            if self._state != "open":  # what is said now goes nowhere
                self._tell(name, self._state, f"{name}(): {_NOT_OPEN[self._state]}")
                self.said = Said()
            with self._report.calling(name, self.wrong):
                yield
            if self._state != "open":
                self.said, self.rule, self.source = kept
        finally:
            self.own_seconds += time.perf_counter() - began


class NoStep:
    """A step where nothing is recorded."""

    def __enter__(self) -> NoStep:
        return self

    def __exit__(self, *_: object) -> Literal[False]:
        return False

    def tree(self, *_: Any, **__: Any) -> None: ...

    draft = target = verify = tree

    def cache(self, *_: Any, **__: Any) -> NoStep:
        return self


NO_STEP = NoStep()


def _snapshot(values: Any) -> Snapshot | None:
    return None if values is None else snapshot(values)


def _rows_call(probs: Any, logits: Any, nodes: Any, positions: Any, mask: Any, slots: Any) -> RowsCall:
    by_node = {int(n): int(s) for n, s in slots.items()} if isinstance(slots, Mapping) else _snapshot(slots)
    return RowsCall(
        _snapshot(probs), _snapshot(logits), _snapshot(nodes), _snapshot(positions), _snapshot(mask), by_node
    )
