"""What a draft head drafts after a text, recomputed from nothing: no cache of a run's, no mask of a tree, no slots.

The target runs over the text once, and the head over the pairs that follow from it, see
:mod:`specviz.models.heads.head`. Below the root a step head runs over the pairs of the text and those of one path of
tokens, each with its own output at the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from specviz.models.head_model import HeadModel
from specviz.models.heads.head import BlockHead, StepHead
from specviz.models.target_states import plain_states

_Path = tuple[int, ...]
NOTHING = -1e30
"""The logit of a token that the head cannot propose: finite, so that its product with a probability of 0 is 0."""


class PlainHead:
    """A head and the transformers model that it reads.

    Args:
        model: the head, bound to this target.
        target: of transformers.
    """

    def __init__(self, model: HeadModel, target: Any):
        self.model, self.head, self.target = model, model.head, target
        self.vocabulary: int = target.config.vocab_size

    def carry(self, tokens: Sequence[int]) -> torch.Tensor:
        """[n, H'], what the head reads of the target's states at n tokens, from a plain forward over them."""
        reading, embeddings = self.model.reading, self.target.get_input_embeddings()
        known = [min(token, embeddings.num_embeddings - 1) for token in tokens]
        ids = torch.tensor([known], device=embeddings.weight.device)
        states = plain_states(self.target, ids, reading.layers, before_norm=reading.before_norm)
        return self.head.fuse(states.to(self.model.device, self.model.dtype))

    def root_logits(self, carry: torch.Tensor, text: Sequence[int], fresh: DynamicCache) -> torch.Tensor:
        """Logits [Vd] at the root, with the pairs of the whole text in one forward, or in one beside that of the block.

        Args:
            carry: [n - 1, H'], of the states of all tokens but the root.
            text: n tokens, the root last.
            fresh: is filled.
        """
        root = self._ids(text[-1:])
        if isinstance(self.head, BlockHead):
            return self.head.level_logits(self._block(self.head, carry, text, fresh), 0, root)[0]
        return self.head.logits(self._outputs(carry, text[1:], fresh)[-1:], root)[0]

    @torch.inference_mode()
    def logits(self, text: Sequence[int], paths: Sequence[Sequence[int]]) -> torch.Tensor:
        """float32 logits [paths, V] on the host, over the target's ids, at the end of each path.

        Args:
            text: at least two tokens, the last one is the root.
            paths: of tokens below the root. An empty one is the root itself.
        """
        carry = self.carry(text[:-1])
        last = [self._ids([text[-1], *path][-1:]) for path in paths]
        if isinstance(self.head, BlockHead):
            own = self._block(self.head, carry, text, DynamicCache())
            rows = [self.head.level_logits(own, len(path), id) for path, id in zip(paths, last, strict=True)]
        else:
            outputs: dict[_Path, torch.Tensor] = {}
            found = [self._below(carry, text, tuple(path), outputs) for path in paths]
            rows = [self.head.logits(own, id) for own, id in zip(found, last, strict=True)]
        return self._over_targets_ids(torch.cat(rows)).float().cpu()

    def rows(self, tokens: Sequence[int]) -> torch.Tensor:
        """float32 logits [n - 1, V] after each of n tokens but the first, where a head has nothing to draft from.

        As at the root of a tree. A block head's cache keeps the pairs before each, else n blocks would be n^2 pairs.
        """
        carry, model, head = self.carry(tokens[:-1]), self.model, self.head
        if isinstance(head, BlockHead):
            cache, rows = model.new_cache(len(tokens)), []
            for place, token in enumerate(tokens[1:]):
                before = place + 1 if head.remembers_root else place
                new = slice(cache.num_committed, before)
                model.prefill(cache, list(tokens[1:])[new], carry[new])
                block = model.block(cache, token, carry[place : place + 1])
                rows.append(head.level_logits(block.own, 0, self._ids([token])))
                cache.roll_back()
            logits = torch.cat(rows)
        else:
            logits = head.logits(self._outputs(carry, tokens[1:], DynamicCache()), self._ids(tokens[1:]))
        return self._over_targets_ids(logits)

    def _below(
        self, carry: torch.Tensor, text: Sequence[int], path: _Path, outputs: dict[_Path, torch.Tensor]
    ) -> torch.Tensor:
        """[1, H'], a step head's output at the end of a path.

        Args:
            outputs: those at paths that were asked before; is added to.
        """
        assert isinstance(self.head, StepHead)
        for length in range(len(path) + 1):
            some = path[:length]
            if some not in outputs:
                below = [self.head.recycle(outputs[path[:before]]) for before in range(length)]
                pairs = torch.cat([carry, *below])
                outputs[some] = self._outputs(pairs, [*text[1:], *some], DynamicCache())[-1:]
        return outputs[path]

    def _outputs(self, carry: torch.Tensor, tokens: Sequence[int], fresh: DynamicCache) -> torch.Tensor:
        """[n, H'] of n pairs of a step head in one causal forward, which fills ``fresh``."""
        count = len(tokens)
        out: torch.Tensor = self.head(carry, self._ids(tokens), self._positions(0, count), self._causal(count), fresh)
        return out

    def _block(self, head: BlockHead, carry: torch.Tensor, text: Sequence[int], fresh: DynamicCache) -> torch.Tensor:
        """[depth, H'] of a block at the root; ``fresh`` is filled with the text's pairs and the block's."""
        kept = len(carry) if head.remembers_root else len(carry) - 1
        if head.layers and kept:
            head.remember(
                carry[:kept], self._ids(text[1 : kept + 1]), self._positions(0, kept), self._causal(kept), fresh
            )
        mask = self._causal(kept + head.width)[:, :, kept:]
        if not head.causal:
            mask = torch.zeros_like(mask)
        ids = self._ids([text[-1], *[head.mask_id] * (head.width - 1)])
        return head.block(carry[-1:], ids, self._positions(kept, head.width), mask, fresh)

    def _over_targets_ids(self, logits: torch.Tensor) -> torch.Tensor:
        """[n, V] of a head's logits [n, Vd]."""
        ids = self.model.token_ids
        if ids is None:
            return logits[:, : self.vocabulary]
        whole = logits.new_full((len(logits), self.vocabulary), NOTHING)
        return whole.index_copy_(-1, ids.to(logits.device), logits)

    def _ids(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.tensor(self.model.known(tokens), device=self.model.device)

    def _positions(self, first: int, count: int) -> torch.Tensor:
        return torch.arange(first, first + count, device=self.model.device) + self.head.position_offset

    def _causal(self, rows: int) -> torch.Tensor:
        """[1, 1, rows, rows], added to the attention's scores."""
        dtype, device = self.model.dtype, self.model.device
        return torch.full((1, 1, rows, rows), torch.finfo(dtype).min, dtype=dtype, device=device).triu(1)
