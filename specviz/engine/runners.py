"""The target and the draft of a run, each with its cache and the map from its appended slots to nodes of the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import torch

from specviz.engine.recording import Rows, rows_of
from specviz.engine.step_values import Change
from specviz.models.hidden_state_head import HiddenStateHead
from specviz.models.kv_cache import SlotCache
from specviz.models.language_model import LanguageModel, Output
from specviz.models.nonfinite import LogitsError
from specviz.sampling import process, take_rows
from specviz.trace.schema import Proposal, Sampling
from specviz.transfers import Reads, upload
from specviz.tree import MAX_NODES, Growth, TokenTree

_FIRST_CAPACITY = 256
_TOGETHER = 32
"""Up to so many draft rows are joined and recorded at once; more are recorded level by level, to avoid the copies."""


class Runner:
    """A model and the cache of one run."""

    part: Literal["target", "draft"]
    reads: Reads
    """Of the step that is run; what is put off there has to be read before the commit."""

    def __init__(self, model: LanguageModel, reads: Reads):
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
                first_tokens = origin.rows if origin and origin.rows else (found.slot,)
                found = replace(found, origin=origin or found.origin, first_tokens=first_tokens)
            elif found.slot is not None:
                at = tuple(node for node, offset in written.items() if base + offset == found.slot)
                found = replace(found, first_nodes=at, first_tokens=() if at else (found.slot,))
            else:
                tokens = tuple(base + row for row in first if nodes[row] is None)
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
        """A forward whose logits are checked with the next of :attr:`reads`; see :meth:`_at_nodes`.

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

        return self.model.forward(self.cache, tokens, parents, rows, later=later, **more)

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


class TargetRunner(Runner):
    """The target: one forward a step, over all nodes, slot order = node order.

    Args:
        head: of the draft, if that reads the target's hidden states.

    Attributes:
        states: [n, layers x hidden], what the draft reads at the n nodes of the last forward; after a prefill [1, ...],
            at the last token of the context; None for a draft that does not read them.
    """

    part = "target"

    def __init__(self, model: LanguageModel, reads: Reads, head: HiddenStateHead | None = None):
        super().__init__(model, reads)
        self._layers = head.layers if head else ()
        self.states: torch.Tensor | None = None

    def prefill(self, context: Sequence[int]) -> int:
        """Feed a cold cache its whole context; returns how many tokens that took (0: the cache was live)."""
        self.states = None
        if not self._is_cold(context):
            return 0
        self.states = self.model.prefill(self.cache, context, layers=self._layers)
        return len(context)

    def score(self, tree: TokenTree) -> torch.Tensor:
        """Raw logits [n, V] at every node."""
        self.node_of = {node: node for node in range(len(tree))}
        nodes = range(len(tree))
        output = self._forward(nodes, {}, tree.tokens, tree.shape.parents, len(tree), layers=self._layers)
        self.states = output.states
        return output.logits


def _only_nodes(nodes: Sequence[int | None], rows: Sequence[int]) -> tuple[int, ...]:
    return tuple(node for row in rows if (node := nodes[row]) is not None)


class DraftRunner(Runner):
    """The draft: one forward a level, over the nodes that are expanded, in its own slot order.

    Nodes that are not expanded are never run, so after a path that ends in one the cache lacks the last committed
    tokens. It catches up in the next step: they are fed together with the root.

    Args:
        vocabulary: the target's V. Tokens of the draft beyond it cannot be verified and are never proposed; tokens that
            the draft lacks have probability 0.
    """

    part = "draft"

    def __init__(self, model: LanguageModel, reads: Reads, vocabulary: int, sampling: Sampling):
        super().__init__(model, reads)
        self.vocabulary, self.sampling = vocabulary, sampling
        self.committed: Sequence[int] = ()
        self._catch_up_tokens: list[int] = []
        self._offset_of: dict[int, int] = {}
        self._logits: list[torch.Tensor] = []
        self._probs: list[torch.Tensor] = []
        self._rows: list[int] = []
        self.on_level: Callable[[int], None] | None = None
        """Called before each forward of a step with its number, from 1."""
        self.features: torch.Tensor | None = None
        """[1, w], what the head reads at the next root, for a draft that reads its target."""
        self.growth: Growth | None = None
        """The tree that is being grown, from the first :meth:`expand` of a step on."""
        self._head_outputs: dict[int, torch.Tensor] = {}
        """Node of the growth -> [hidden], the output of that head there."""

    def prefill(self, context: Sequence[int], states: torch.Tensor | None = None) -> None:
        """Feed a cold cache its whole context.

        Args:
            states: :attr:`TargetRunner.states`, at the end of the context; None if the target's cache was live.
        """
        if self.model.head and (states is not None or not context):
            self.features = self.model.head.text_features(states)[-1:]
        if self._is_cold(context):
            self.model.prefill(self.cache, context)

    def set_features(self, states: torch.Tensor | None, last: int) -> None:
        """Set what the head reads at the next root.

        Args:
            states: [n, w], the target's hidden states at the nodes; None for a draft that does not read them.
            last: the last committed node.
        """
        if self.model.head and states is not None:
            self.features = self.model.head.features(states[last : last + 1])

    def start_step(self, tokens: Sequence[int]) -> None:
        """Start a step on the committed ``tokens``, the root last."""
        self.committed = tokens
        self._catch_up_tokens = list(tokens[self.cache.num_committed : -1])
        self._offset_of, self._logits, self._probs, self._rows = {}, [], [], []
        self.node_of, self.num_catch_up, self._head_outputs, self.growth = {}, 0, {}, None

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        """See :meth:`specviz.drafting.base.Draft.expand`."""
        if self.on_level is not None:
            self.on_level(len(self._logits) + 1)
        if nodes == [0]:
            tokens = [*self._catch_up_tokens, growth.tokens[0]]
            self.num_catch_up = len(self._catch_up_tokens)
            parents = list(range(-1, self.num_catch_up))
            features = self.features
        else:
            tokens = [growth.tokens[node] for node in nodes]
            parents = [self._offset_of[growth.parents[node]] for node in nodes]
            features = None
            if self.model.head:
                outputs = [self._head_outputs[growth.parents[node]] for node in nodes]
                features = self.model.head.predict(torch.stack(outputs))
        first = self.cache.length - self.cache.num_committed + len(tokens) - len(nodes)
        self.growth = growth
        at = [*[None] * (len(tokens) - len(nodes)), *nodes]
        sizes = len(growth.tokens), len(growth.rows), len(self._logits)
        output = self._forward(
            at,
            dict(self._offset_of),
            tokens,
            parents,
            len(nodes),
            on_error=lambda: self._take_back(growth, *sizes),
            features=features,
        )
        if output.states is not None:
            self._head_outputs.update(zip(nodes, output.states, strict=True))
        logits = output.logits[:, : self.vocabulary]
        self._offset_of.update((node, first + row) for row, node in enumerate(nodes))
        probs = process(logits, self.sampling)
        if probs.shape[-1] < self.vocabulary:
            probs = torch.nn.functional.pad(probs, (0, self.vocabulary - probs.shape[-1]))
        self._logits.append(logits)
        self._probs.append(probs)
        return probs

    def _take_back(self, growth: Growth, nodes: int, calls: int, parts: int) -> None:
        """Forget what came of logits that were no numbers; the arguments are the sizes before their forward."""
        growth.take_back(nodes, calls)
        del self._logits[parts:], self._probs[parts:]

    def tabulate(self, shares: Sequence[Mapping[int, float]]) -> torch.Tensor:
        """See :meth:`specviz.drafting.base.Draft.tabulate`. The rows are recorded as the draft's."""
        probs = torch.zeros(len(shares), self.vocabulary, device=self.model.device)
        rows = upload([row for row, known in enumerate(shares) for _ in known], probs.device, torch.long)
        tokens = upload([token for known in shares for token in known], probs.device, torch.long)
        probs[rows, tokens] = upload([share for known in shares for share in known.values()], probs.device, probs.dtype)
        self._logits.append(probs.log())
        self._probs.append(probs)
        return probs

    def map_nodes(self, growth: Growth, final: dict[int, int]) -> None:
        """Map the nodes of the growth to those of the finished tree.

        Args:
            final: node of the growth -> node of the finished tree; nodes that are missing in it were pruned.
        """
        self.node_of = {offset: final[node] for node, offset in self._offset_of.items() if node in final}
        self._rows = [row for node, row in growth.row_of.items() if node in final]
        self.growth = None

    def partial_tree(self, root: int, proposal: Proposal) -> TokenTree:
        """The tree as far as it had grown when the step failed, with nodes numbered in the order in which they grew."""
        growth = self.growth or Growth.from_root(root)
        tree, final = growth.freeze(proposal, list(range(min(len(growth.tokens), MAX_NODES + 1))))
        self.map_nodes(growth, final)
        return tree

    def rows(self, k: int) -> Rows:
        """The distributions to record, one per row of the finished tree. Their tensors are released, so ask once."""
        logits, probs, self._logits, self._probs = self._logits, self._probs, [], []
        if self._rows and sum(map(len, logits)) <= _TOGETHER:
            logits, probs = [torch.cat(logits)], [torch.cat(probs)]
        parts: list[Rows] = []
        first = 0
        for some_logits, some_probs in zip(logits, probs, strict=True):
            kept = [row - first for row in self._rows if first <= row < first + len(some_logits)]
            first += len(some_logits)
            if len(kept) < len(some_logits):
                some_logits, some_probs = take_rows(some_logits, kept), take_rows(some_probs, kept)
            if kept:
                parts.append(rows_of(some_logits, some_probs, self.sampling, k, self.reads))
        return lambda texts: [row for part in parts for row in part(texts)]
