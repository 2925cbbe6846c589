"""A model of a run, with its cache and the map from its appended slots to nodes of the tree; and the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar

import torch

from specviz.engine.step_values import Change
from specviz.models.cached_model import CachedModel, Later, Output
from specviz.models.kv_cache import SlotCache
from specviz.models.language_model import LanguageModel
from specviz.models.nonfinite import LogitsError
from specviz.models.target_states import Reading
from specviz.transfers import Reads
from specviz.tree import TokenTree

_FIRST_CAPACITY = 256


M = TypeVar("M", bound=CachedModel)


class Runner(Generic[M]):
    """A model and the cache of one run."""

    part: Literal["target", "draft"]
    reads: Reads
    """Of the step that is run; what is put off there has to be read before the commit."""

    slot_token = 0
    """Place in the text of the token that stands in the first slot of the cache."""

    def __init__(self, model: M, reads: Reads):
        self.model = model
        self.reads = reads
        self.cache: SlotCache = model.new_cache(_FIRST_CAPACITY)
        self.node_of: dict[int, int] = {}
        """Offset of an appended slot -> node of the finished tree."""
        self.num_catch_up = 0
        """How many of the appended slots, the first ones, are committed tokens that the cache did not have yet."""
        self._context: Sequence[int] = ()

    @contextmanager
    def _at_nodes(self, nodes: Sequence[int | None], written: Mapping[int, int]) -> Iterator[None]:
        """Inside the block, add to a :class:`LogitsError` the nodes, or the tokens of the text, that it is about.

        Args:
            nodes: the node of every row of the forward; None for a committed token that is fed to catch up.
            written: node -> offset of its slot, for slots that earlier forwards of the step wrote.
        """
        try:
            yield
        except LogitsError as error:
            found, base = replace(error.found, model=self.part), self.cache.num_committed
            first = found.origin.rows or () if found.origin else ()
            if found.slot is not None and found.slot < base:
                # A plain forward names the layer where the numbers go wrong; where it is finite, the cache is at fault.
                origin = self.model.origin_in_text(self._context[: found.slot + 1])
                first_tokens = origin.rows if origin and origin.rows else (found.slot + self.slot_token,)
                found = replace(found, origin=origin or found.origin, first_tokens=first_tokens)
            elif found.slot is not None:
                at = tuple(node for node, offset in written.items() if base + offset == found.slot)
                found = replace(found, first_nodes=at, first_tokens=() if at else (found.slot + self.slot_token,))
            else:
                tokens = tuple(base + self.slot_token + row for row in first if nodes[row] is None)
                found = replace(found, first_nodes=_only_nodes(nodes, first), first_tokens=tokens)
            raise LogitsError(replace(found, nodes=_only_nodes(nodes, found.rows))) from error

    def _forward(
        self,
        nodes: Sequence[int | None],
        written: Mapping[int, int],
        tokens: Sequence[int],
        parents: Sequence[int],
        rows: int,
        on_error: Callable[[], None] = lambda: None,
        **more: Any,
    ) -> Output:
        """A forward whose logits are checked with the next of :attr:`reads`; see :meth:`_checked`."""
        later = self._checked(nodes, written, on_error)
        model: Any = self.model  # its own arguments are in ``more``
        output: Output = model.forward(self.cache, tokens, parents, rows, later=later, **more)
        return output

    def _checked(
        self, nodes: Sequence[int | None], written: Mapping[int, int], on_error: Callable[[], None] = lambda: None
    ) -> Later:
        """What makes the check of a forward's logits with the next of :attr:`reads`; see :meth:`_at_nodes`.

        Args:
            on_error: called before the :class:`LogitsError` is raised, by when more may have been made of the logits.
        """

        def later(tensors: Sequence[torch.Tensor], check: Callable[[torch.Tensor], None]) -> None:
            def at_nodes(best: torch.Tensor) -> None:
                try:
                    with self._at_nodes(nodes, written):
                        check(best)
                except LogitsError:
                    on_error()
                    raise

            self.reads.later(tensors, at_nodes)

        return later

    def _is_cold(self, context: Sequence[int]) -> bool:
        """Whether the context has to be fed. If so, room is made for it in the cache."""
        self._context = context
        if self.cache.num_committed or not context:
            return False
        self.cache.reserve(len(context))
        return True

    def commit(self, nodes: Sequence[int]) -> Change:
        """Commit the slots of ``nodes`` and of the tokens fed to catch up, in text order; drop the others."""
        cache, base, written = self.cache, self.cache.num_committed, self.cache.written
        fingerprints = cache.ask_fingerprints(base, cache.length, self.reads)
        slot_of = {node: offset for offset, node in self.node_of.items()}
        offsets = [*range(self.num_catch_up), *(slot_of[node] for node in nodes if node in slot_of)]
        return Change(
            cache=cache,
            num_committed=base,
            written=written,
            node_of=self.node_of,
            num_catch_up=self.num_catch_up,
            fingerprints=fingerprints,
            compaction=cache.compact(offsets),
        )

    def release(self) -> None:
        """Give the cache's memory back; the next prefill starts from nothing."""
        self.cache = self.model.new_cache(_FIRST_CAPACITY)


class TargetRunner(Runner[LanguageModel]):
    """The target: one forward a step, over all nodes, slot order = node order.

    Args:
        reading: the hidden states that the draft reads, if it does.

    Attributes:
        states: [n, layers x hidden], what the draft reads at the n nodes of the last forward; after a prefill [1, ...],
            at the last token of the context; None for a draft that does not read them.
    """

    part = "target"

    def __init__(self, model: LanguageModel, reads: Reads, reading: Reading | None = None):
        super().__init__(model, reads)
        self._reading = reading
        self.states: torch.Tensor | None = None

    def prefill(
        self, context: Sequence[int], follow: Callable[[Sequence[int], torch.Tensor], None] | None = None
    ) -> int:
        """Feed a cold cache its whole context; returns how many tokens that took (0: the cache was live).

        Args:
            follow: see :meth:`LanguageModel.prefill`.
        """
        self.states = None
        if not self._is_cold(context):
            return 0
        self.states = self.model.prefill(self.cache, context, reading=self._reading, follow=follow)
        return len(context)

    def score(self, tree: TokenTree) -> torch.Tensor:
        """Raw logits [n, V] at every node."""
        self.node_of = {node: node for node in range(len(tree))}
        nodes = range(len(tree))
        output = self._forward(nodes, {}, tree.tokens, tree.shape.parents, len(tree), reading=self._reading)
        self.states = output.states
        return output.logits


def _only_nodes(nodes: Sequence[int | None], rows: Sequence[int]) -> tuple[int, ...]:
    return tuple(node for row in rows if (node := nodes[row]) is not None)
