"""Drafts that are heads of their target; see :mod:`specviz.models.heads.head` for the words.

What a head has not been fed yet of the text is *pending*. The first pending pair belongs into the first slot that is
not committed, the last one is the root's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from specviz.engine.draft_runners import DraftRunner, ModelDraftRunner
from specviz.engine.step_values import Change
from specviz.models.cached_model import CachedModel
from specviz.models.head_model import Block, HeadModel
from specviz.models.heads.head import BlockHead
from specviz.models.language_model import LanguageModel
from specviz.trace.schema import Sampling
from specviz.transfers import Reads, upload
from specviz.tree import Growth


def draft_runner(
    model: CachedModel, reads: Reads, vocabulary: int, sampling: Sampling
) -> ModelDraftRunner | HeadRunner:
    """The runner of a draft; the arguments are those of :class:`~specviz.engine.draft_runners.DraftRunner`."""
    if isinstance(model, HeadModel):
        kind = BlockHeadRunner if isinstance(model.head, BlockHead) else StepHeadRunner
        return kind(model, reads, vocabulary, sampling)
    assert isinstance(model, LanguageModel)
    return ModelDraftRunner(model, reads, vocabulary, sampling)


class HeadRunner(DraftRunner[HeadModel]):
    """What step heads and block heads share: how the text gets into their caches."""

    slot_token = 1

    def __init__(self, model: HeadModel, reads: Reads, vocabulary: int, sampling: Sampling):
        super().__init__(model, reads, vocabulary, sampling)
        self.reading = model.reading
        self.token_ids = model.token_ids
        self.pending: torch.Tensor | None = None
        """[m, k x H], the target's states of the pending pairs; None for none, before the target has run a token. Of a
        head without a cache always the root's alone."""
        self.masks = range(0)
        """Offsets of the slots of masked places."""
        self._fed = 0
        """How many of the pending pairs, the first ones, were committed by the step that ends."""

    @property
    def most_depth(self) -> int | None:
        """Before the target has run a token there is nothing to draft from."""
        return 0 if self.pending is None else None

    def follow(self, tokens: Sequence[int], states: torch.Tensor) -> None:
        """Feed the pairs whose tokens are known now: all but the last state's."""
        if self.pending is None:
            tokens = tokens[1:]
        else:
            states = torch.cat([self.pending, states])
        if tokens and self.model.layers:
            self.model.prefill(self.cache, tokens, self.model.fuse(states[:-1]))
        self.pending = states[-1:].clone()  # a view would keep those of the whole chunk

    def prefill(self, context: Sequence[int]) -> None:
        self._context = context

    def learn(self, states: torch.Tensor | None, nodes: Sequence[int]) -> None:
        if states is None:
            return
        if not self.model.layers:
            nodes = nodes[-1:]
        learnt = states.index_select(0, upload(nodes, states.device))
        if self.pending is None or not self.model.layers:
            self.pending = learnt
        else:
            self.pending = torch.cat([self.pending, learnt])[self._fed :]

    def commit(self, nodes: Sequence[int]) -> Change:
        """Only pairs of the target's own states stay: those fed to catch up, and some of ``nodes``."""
        change = super().commit(self._staying(nodes))
        self._fed = change.cache.num_committed - change.num_committed
        return replace(change, masks=self.masks)

    def _staying(self, nodes: Sequence[int]) -> Sequence[int]:
        """Those of the committed nodes whose slots stay."""
        raise NotImplementedError

    def release(self) -> None:
        super().release()
        self.pending = None

    def _pending_tokens(self) -> list[int]:
        """The tokens of the pending pairs, the root's last."""
        assert self.pending is not None
        return list(self.committed[-len(self.pending) :])

    def _said(self, growth: Growth, nodes: Sequence[int], logits: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """The processed rows at ``nodes``, with what else the head says there."""
        head = self.model.head
        tokens = upload(self.model.known([growth.tokens[node] for node in nodes]), self.model.device)
        return self._add_level(nodes, logits, head.bias(own, tokens), head.confidence(own, tokens))


class StepHeadRunner(HeadRunner):
    """One forward a level, over the nodes that are expanded."""

    def __init__(self, model: HeadModel, reads: Reads, vocabulary: int, sampling: Sampling):
        super().__init__(model, reads, vocabulary, sampling)
        self._own: dict[int, torch.Tensor] = {}
        """Node of the growth -> [H'], the head's output there."""

    def start_step(self, tokens: Sequence[int]) -> None:
        super().start_step(tokens)
        self._own = {}

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        self._tell_level()
        assert self.pending is not None
        if nodes == [0]:
            tokens, carry = self._pending_tokens(), self.model.fuse(self.pending)
            self.num_catch_up = len(tokens) - 1
            parents = list(range(-1, self.num_catch_up))
        else:
            tokens = [growth.tokens[node] for node in nodes]
            parents = [self._offset_of[growth.parents[node]] for node in nodes]
            carry = self.model.recycle(torch.stack([self._own[growth.parents[node]] for node in nodes]))
        first = self.cache.length - self.cache.num_committed + len(tokens) - len(nodes)
        self.growth = growth
        sizes = self._sizes(growth)
        output = self._forward(
            [*[None] * (len(tokens) - len(nodes)), *nodes],
            dict(self._offset_of),
            tokens,
            parents,
            len(nodes),
            on_error=lambda: self._take_back(growth, *sizes),
            carry=carry,
        )
        assert output.states is not None
        self._own.update(zip(nodes, output.states, strict=True))
        self._offset_of.update((node, first + row) for row, node in enumerate(nodes))
        return self._said(growth, nodes, output.logits, output.states)

    def _staying(self, nodes: Sequence[int]) -> Sequence[int]:
        return nodes[:1]


class BlockHeadRunner(HeadRunner):
    """One forward at the root; the rows below it depend on the depth of a node, and perhaps on its token."""

    def __init__(self, model: HeadModel, reads: Reads, vocabulary: int, sampling: Sampling):
        super().__init__(model, reads, vocabulary, sampling)
        assert isinstance(model.head, BlockHead)
        self._head = model.head
        self._block: Block | None = None

    @property
    def most_depth(self) -> int | None:
        return 0 if self.pending is None else self._head.depth

    def start_step(self, tokens: Sequence[int]) -> None:
        super().start_step(tokens)
        self._block, self.masks = None, range(0)

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        self._tell_level()
        self.growth = growth
        sizes = self._sizes(growth)
        if self._block is None:
            assert nodes == [0]
            self._block = self._run_block()
        depths = {growth.depths[node] for node in nodes}
        assert len(depths) == 1, "builders grow level by level"
        depth = depths.pop()
        later = self._checked(nodes, {}, on_error=lambda: self._take_back(growth, *sizes))
        tokens = [growth.tokens[node] for node in nodes]
        logits = self.model.level(self.cache, self._block, depth, tokens, later)
        own = self._block.own[depth : depth + 1].expand(len(nodes), -1)
        return self._said(growth, nodes, logits, own)

    def _run_block(self) -> Block:
        assert self.pending is not None
        tokens, head, carry = self._pending_tokens(), self._head, self.model.fuse(self.pending)
        if self.model.layers:
            self.num_catch_up = len(tokens) if head.remembers_root else len(tokens) - 1
        self.model.remember(self.cache, tokens[: self.num_catch_up], carry[: self.num_catch_up])
        block = self.model.block(self.cache, tokens[-1], carry[-1:])
        if self.model.layers:
            self._offset_of = {0: self.num_catch_up}
            self.masks = range(self.num_catch_up + 1, self.num_catch_up + head.width)
        return block

    def _staying(self, nodes: Sequence[int]) -> Sequence[int]:  # noqa: ARG002
        return []
