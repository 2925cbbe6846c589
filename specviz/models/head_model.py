"""A draft head with what is known about it: forwards over pairs that form a tree, and blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from specviz.models.cached_model import CachedModel, Later, Output, causal_mask, written
from specviz.models.heads.head import BlockHead, DraftHead, StepHead
from specviz.models.kv_cache import SlotCache
from specviz.models.stopwatch import moment
from specviz.models.target_states import Reading
from specviz.trace.schema import ModelInfo
from specviz.transfers import upload

NO_LIMIT = 1 << 30
Arguments = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Of a head: ids, positions and mask."""


@dataclass(frozen=True)
class Block:
    """What a block head drafted at a root.

    Attributes:
        own: [depth, H'], its outputs.
        first: slots in use before it.
        run: repeats its forward.
    """

    own: torch.Tensor
    first: int
    run: Callable[[], torch.Tensor]


class HeadModel(CachedModel):
    """A draft head that is bound to its target.

    Its positions are rotary and are no limit of the context, whatever its config says they are.

    Attributes:
        head: in eval mode, on the target's device.
        reading: what it reads of the target.
        token_ids: [Vd], the target's id of each column of its logits; None where that is the column itself.
    """

    def __init__(self, head: DraftHead, info: ModelInfo, vocabulary: int):
        """Args:
        vocabulary: V, the target's.
        """
        super().__init__(info)
        assert info.head is not None
        parameter = next(head.parameters())
        self.head = head
        self.token_ids = head.token_ids
        self.vocabulary = vocabulary if head.token_ids is None else len(head.token_ids)
        self.inputs = head.inputs
        self.layers = head.layers
        self.max_positions = NO_LIMIT
        self.device = parameter.device
        self.dtype = parameter.dtype
        self.reading = Reading(info.head.reads, info.head.before_norm)

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        """What the head reads [n, H'] of the target's states [n, k x H]."""
        return self._run(self.head.fuse, states.to(self.device, self.dtype))

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        """What a step head reads at nodes [n, H'], of its output at their parents."""
        assert isinstance(self.head, StepHead)
        return self._run(self.head.recycle, own)

    def _run(self, part: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
        """Whatever the head computes is called here, where its time is taken."""
        start = moment(self.device)
        found = part(*arguments)
        self.forwards.append((start, moment(self.device)))
        return found

    def forward(
        self,
        cache: SlotCache,
        tokens: Sequence[int],
        parents: Sequence[int],
        rows: int,
        *,
        carry: torch.Tensor,
        later: Later | None = None,
    ) -> Output:
        """Run n pairs of a step head and append their slots.

        Args:
            cache, parents, rows, later: as in :meth:`specviz.models.language_model.LanguageModel.forward`.
            tokens: n, of the pairs.
            carry: [n, H'], what is read beside them.

        Returns:
            Logits [rows, Vd] and, as states, the head's outputs [rows, H'].

        Raises:
            LogitsError: for logits of which no distribution can be made.
        """
        head = self.head
        assert isinstance(head, StepHead)
        assert 0 < rows <= len(tokens)
        made, first = self._rows(cache, self.known(tokens), parents, head.position_offset), cache.length
        arguments = self._arguments(made.tokens, made.positions[0], made.mask)

        def run() -> Output:
            own = self._run(head, carry, *arguments, cache)[-rows:]
            return Output(self._run(head.logits, own, arguments[0][-rows:]), own)

        output = run()
        cache.log(written(made, cache.num_committed))
        self._check(cache, output.logits, len(tokens), first, run, later)
        return output

    def remember(self, cache: SlotCache, tokens: Sequence[int], carry: torch.Tensor) -> None:
        """Append the pairs of m tokens of the text, which follow the slots in use, and what they carry [m, H'].

        Before they are committed their logits are not asked for.
        """
        if not tokens or not self.layers:
            return
        base = cache.length - cache.num_committed
        parents = range(base - 1, base + len(tokens) - 1)
        made = self._rows(cache, self.known(tokens), parents, self.head.position_offset)
        self._feed(cache, carry, self._arguments(made.tokens, made.positions[0], made.mask))
        cache.log(written(made, cache.num_committed))

    def prefill(self, cache: SlotCache, tokens: Sequence[int], carry: torch.Tensor) -> None:
        """Append and commit the pairs of a text's next tokens [m], with what they carry [m, H']."""
        if not tokens or not self.layers:
            return
        cache.reserve(len(tokens))
        first = cache.num_committed
        positions = torch.arange(first, first + len(tokens)) + self.head.position_offset
        mask = causal_mask(len(tokens), first, self.dtype)
        self._feed(cache, carry, self._arguments(self.known(tokens), positions, mask))
        cache.commit()

    def _feed(self, cache: Any, carry: torch.Tensor, arguments: Arguments) -> None:
        """Run pairs of the text for their keys and values alone."""
        head = self.head
        assert isinstance(head, (StepHead, BlockHead))
        self._run(head if isinstance(head, StepHead) else head.remember, carry, *arguments, cache)

    def block(self, cache: SlotCache, root: int, carry: torch.Tensor) -> Block:
        """Run a block head at the root and append the slots of its block.

        Args:
            carry: [1, H'], of the state before the root.
        """
        head = self.head
        assert isinstance(head, BlockHead)
        base, first = cache.length - cache.num_committed, cache.length
        tokens = self.known([root, *[head.mask_id] * (head.width - 1)])
        if self.layers:
            parents = range(base - 1, base + head.width - 1)
            made = self._rows(cache, tokens, parents, head.position_offset)
            if not head.causal:
                made.mask.zero_()
            arguments = self._arguments(made.tokens, made.positions[0], made.mask)
        else:
            arguments = self._arguments(tokens, torch.arange(head.width), torch.zeros(1, 1, head.width, head.width))

        def run() -> torch.Tensor:
            return self._run(head.block, carry, *arguments, cache)

        own = run()
        if self.layers:
            cache.log(written(made, cache.num_committed))
        return Block(own, first, run)

    def level(
        self, cache: SlotCache, block: Block, depth: int, tokens: Sequence[int], later: Later | None = None
    ) -> torch.Tensor:
        """Logits [n, Vd] at n nodes of one depth, whose tokens these are.

        Raises:
            LogitsError: for logits of which no distribution can be made.
        """
        head = self.head
        assert isinstance(head, BlockHead)
        ids = upload(self.known(tokens), self.device)
        logits = self._run(head.level_logits, block.own, depth, ids)

        def run() -> torch.Tensor:
            return head.level_logits(block.run(), depth, ids)

        self._check(cache, logits, len(tokens), block.first, run, later, other_rows=True)
        return logits

    def _arguments(self, tokens: Sequence[int], positions: torch.Tensor, mask: torch.Tensor) -> Arguments:
        """On the device."""
        return (
            upload(list(tokens), self.device),
            positions.to(self.device, non_blocking=True),
            mask.to(self.device, non_blocking=True),
        )

    def _modules(self) -> Mapping[str, torch.nn.Module]:
        return {f"head.{name}": module for name, module in self.head.named_modules() if name}
