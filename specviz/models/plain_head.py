"""What a draft head drafts after a text, recomputed from nothing: no cache of a run's, no mask of a tree, no slots.

The target runs over the text once, and the head over the pairs that follow from it. Below the root a step head runs
over the pairs of the text and those of one path of tokens, each with its own output at the one before.
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
        draft: the head, bound to this target.
        target: of transformers.
        vocabulary: V, the target's.
    """

    def __init__(self, draft: HeadModel, target: Any, vocabulary: int):
        self.draft, self.target, self.vocabulary = draft, target, vocabulary

    @torch.inference_mode()
    def logits(self, text: Sequence[int], paths: Sequence[Sequence[int]]) -> torch.Tensor:
        """float32 logits [paths, V] on the host, over the target's ids.

        Args:
            text: at least two tokens, the last one is the root.
            paths: of tokens below the root. An empty one is the root itself.
        """
        ids = torch.tensor([list(text[:-1])], device=self.target.get_input_embeddings().weight.device)
        reading = self.draft.reading
        states = plain_states(self.target, ids, reading.layers, before_norm=reading.before_norm)
        carry = self.draft.fuse(states)
        rows = self._blocks(carry, text, paths) if isinstance(self.draft.head, BlockHead) else []
        outputs: dict[_Path, torch.Tensor] = {}
        rows = rows or [self._step(carry, text, tuple(path), outputs) for path in paths]
        logits = torch.stack(rows).float().cpu()
        if self.draft.token_ids is None:
            return logits[:, : self.vocabulary]
        whole = torch.full((len(rows), self.vocabulary), NOTHING)
        return whole.index_copy_(1, self.draft.token_ids.cpu(), logits)

    def _step(
        self,
        carry: torch.Tensor,
        text: Sequence[int],
        path: _Path,
        outputs: dict[_Path, torch.Tensor],
    ) -> torch.Tensor:
        """Logits [Vd] of a step head. ``outputs`` has those of the paths that were asked before, and is added to."""
        head = self.draft.head
        assert isinstance(head, StepHead)
        own = torch.empty(0)
        for length in range(len(path) + 1):
            some = path[:length]
            if some not in outputs:
                below = [head.recycle(outputs[path[:before]]) for before in range(length)]
                outputs[some] = self._outputs(torch.cat([carry, *below]), [*text[1:], *some])[-1:]
            own = outputs[some]
        return head.logits(own, self._ids([text[-1], *path][-1:]))[0]

    def _outputs(self, carry: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """[n, H'] of n pairs in one causal forward."""
        positions = torch.arange(len(tokens), device=self.draft.device) + self.draft.head.position_offset
        out: torch.Tensor = self.draft.head(
            carry, self._ids(tokens), positions, self._causal(len(tokens)), DynamicCache()
        )
        return out

    def _blocks(self, carry: torch.Tensor, text: Sequence[int], paths: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Logits [Vd] of a block head at the end of each path."""
        head = self.draft.head
        assert isinstance(head, BlockHead)
        fresh, pairs = DynamicCache(), len(carry)
        positions = torch.arange(pairs + head.width, device=self.draft.device) + head.position_offset
        kept = pairs if head.remembers_root else pairs - 1
        if head.layers and kept:
            head.remember(carry[:kept], self._ids(text[1:])[:kept], positions[:kept], self._causal(kept), fresh)
        mask = self._causal(kept + head.width)[:, :, kept:]
        if not head.causal:
            mask = torch.zeros_like(mask)
        block = self._ids([text[-1], *[head.mask_id] * (head.width - 1)])
        own = head.block(carry[-1:], block, positions[kept : kept + head.width], mask, fresh)
        return [head.level_logits(own, len(path), self._ids([text[-1], *path][-1:]))[0] for path in paths]

    def _ids(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.tensor(self.draft.known(list(tokens)), device=self.draft.device)

    def _causal(self, rows: int) -> torch.Tensor:
        """[1, 1, rows, rows], added to the attention's scores."""
        dtype, device = self.draft.dtype, self.draft.device
        return torch.full((1, 1, rows, rows), torch.finfo(dtype).min, dtype=dtype, device=device).triu(1)
