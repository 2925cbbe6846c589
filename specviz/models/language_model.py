"""One model with its slot cache: forwards over any set of rows that form a tree."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from specviz.models.compat import cache_argument
from specviz.models.hidden_state_head import HiddenStateHead, select_layers
from specviz.models.kv_cache import SlotCache, Written
from specviz.models.nonfinite import CACHED, Found, LogitsError, Origin, find_origin, kind_of
from specviz.models.stopwatch import Moment, moment
from specviz.trace.schema import ModelInfo
from specviz.transfers import read, upload

PREFILL_CHUNK = 512
"""Context tokens per prefill forward: bounds the mask and the activations."""


@dataclass(frozen=True)
class Output:
    """What a forward over n tokens gave.

    Attributes:
        logits: [rows, V], float32, of the rows that were asked for.
        states: [n, layers x hidden], the hidden states of the layers that were asked for, at every token; of a draft
            that reads its target what its head made, [rows, hidden]; else None.
    """

    logits: torch.Tensor
    states: torch.Tensor | None = None


class LanguageModel:
    """A causal language model of transformers, used for tree attention.

    Attributes:
        model: in eval mode, with sdpa attention (additive float masks are right in sdpa and in eager).
        info: what was loaded.
        vocabulary: V, the width of its logits.
        max_positions: longest context its positions allow.
        forwards: begin and end of every forward since the list was last emptied.
        head: with which it reads its target's hidden states, for a draft that does.
    """

    def __init__(self, model: Any, info: ModelInfo, head: HiddenStateHead | None = None):
        self.model = model
        self.info = info
        self.head = head
        config = model.config
        self.vocabulary: int = config.vocab_size
        self.inputs: int = model.get_input_embeddings().num_embeddings
        self.layers: int = config.num_hidden_layers
        self.max_positions: int = getattr(config, "max_position_embeddings", None) or 1 << 30
        self.device: torch.device = model.get_input_embeddings().weight.device
        self.dtype: torch.dtype = model.dtype
        self.forwards: list[tuple[Moment, Moment]] = []
        self.cache_argument = cache_argument(model.forward) or "past_key_values"
        self._takes_logits_to_keep = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.last_logits: dict[str, int] = {"logits_to_keep": 1} if self._takes_logits_to_keep else {}
        """Arguments with which a plain forward computes its last row of logits only, where it can."""

    def new_cache(self, capacity: int) -> SlotCache:
        return SlotCache(self.layers, capacity)

    def forward(
        self,
        cache: SlotCache,
        tokens: Sequence[int],
        parents: Sequence[int],
        rows: int,
        *,
        features: torch.Tensor | None = None,
        layers: tuple[int, ...] = (),
        later: Callable[[Sequence[torch.Tensor], Callable[[torch.Tensor], None]], None] | None = None,
    ) -> Output:
        """Run n tokens in one forward and append their slots.

        Args:
            cache: of this model; its committed slots are the context of every row.
            tokens: n token ids. An id beyond this model's embeddings (padded vocabularies) is read as the last one: a
                draft that misreads a token drafts worse, and stays exact.
            parents: see :meth:`SlotCache.allocate`.
            rows: how many rows of logits to return: those of the last tokens, at least one.
            features: [rows, w], what the head reads at these rows.
            layers: whose hidden states to return.
            later: takes a check of the logits that may be made with the next read, see :meth:`Reads.later`, as long as
                these slots are the last ones. Without it the check is made here.

        Raises:
            LogitsError: for logits of which no distribution can be made.
        """
        assert 0 < rows <= len(tokens)
        known = [min(token, self.inputs - 1) for token in tokens]
        cache.reserve(len(known))
        positions, lines = cache.allocate(parents)
        mask = tree_mask(lines, cache.num_committed, cache.length + len(known), self.dtype)
        position_ids = torch.tensor([positions])
        ids, first = torch.tensor([known]), cache.length
        output = self._run(cache, ids, position_ids, mask, rows, features, layers)
        cache.log(_written(known, position_ids, mask, cache.num_committed))

        def check(best: torch.Tensor) -> None:
            if (wrong := kind_of(best)) is None:
                return
            kind, bad = wrong
            found = Found(self.info.id, str(self.info.dtype), kind, tuple(len(known) - rows + row for row in bad))
            if (cached := cache.first_not_finite(first)) is not None:
                layer, slot = cached
                raise LogitsError(replace(found, origin=Origin(CACHED, layer, None), slot=slot))
            with cache.writing_again(first):
                origin = self._origin(
                    lambda: self._run(cache, ids, position_ids, mask, rows, features, layers), len(known)
                )
            raise LogitsError(replace(found, origin=origin))

        best = output.logits.amax(-1)
        if later is None:
            check(*read(best))
        else:
            later([best], check)
        return output

    def prefill(self, cache: SlotCache, tokens: Sequence[int], *, layers: tuple[int, ...] = ()) -> torch.Tensor | None:
        """Append and commit context tokens in chunks; no logits are computed but the last row's.

        Returns:
            [1, layers x hidden], the hidden states of ``layers`` at the last of the tokens; None for none.
        """
        states: torch.Tensor | None = None
        for start in range(0, len(tokens), PREFILL_CHUNK):
            chunk = [min(token, self.inputs - 1) for token in tokens[start : start + PREFILL_CHUNK]]
            cache.reserve(len(chunk))
            first = cache.num_committed
            mask = causal_mask(len(chunk), first, self.dtype)
            positions = torch.arange(first, first + len(chunk))[None]
            output = self._run(cache, torch.tensor([chunk]), positions, mask, 1, None, layers)
            cache.commit()
            states = output.states
        # A copy: a view would keep those of the whole chunk.
        return None if states is None else states[-1:].clone()

    def origin_in_text(self, tokens: Sequence[int]) -> Origin | None:
        """Where NaN or infinity first appears in a plain forward over a text; None if it does not."""
        return self._origin(lambda: self.model(input_ids=self.plain_ids(tokens), use_cache=False), len(tokens))

    def _origin(self, run: Callable[[], Any], rows: int) -> Origin | None:
        before = len(self.forwards)
        modules = dict(self.model.named_modules())
        if self.head:
            modules |= {f"head.{name}": module for name, module in self.head.named_modules()}
        try:
            return find_origin({name: module for name, module in modules.items() if name}, run, rows, self.layers)
        finally:
            del self.forwards[before:]

    def _run(
        self,
        cache: SlotCache,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        rows: int,
        features: torch.Tensor | None,
        layers: tuple[int, ...],
    ) -> Output:
        arguments: dict[str, Any] = {
            "input_ids": ids.to(self.device, non_blocking=True),
            "position_ids": positions.to(self.device, non_blocking=True),
            "attention_mask": mask.to(self.device, non_blocking=True),
            "use_cache": True,
            self.cache_argument: cache,
        }
        if layers:
            arguments["output_hidden_states"] = True
        if self._takes_logits_to_keep and features is None:
            # No other row is worth a product with the whole vocabulary. A number, as an index would be on one device:
            # of a model on several, the hidden states that it is for may be on another.
            arguments["logits_to_keep"] = rows
        start = moment(self.device)
        states: torch.Tensor | None
        if features is not None:
            logits, states = self._read(ids, features, rows, arguments)
        else:
            output = self.model(**arguments)
            logits = output.logits[0] if self._takes_logits_to_keep else output.logits[0, -rows:]
            states = select_layers(output.hidden_states, layers) if layers else None
        self.forwards.append((start, moment(self.device)))
        return Output(logits.float(), states)

    def _read(
        self, ids: torch.Tensor, features: torch.Tensor, rows: int, arguments: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [rows, V] and what the head made of the last hidden states, [rows, hidden]."""
        assert self.head is not None
        hidden = self.model.base_model(**arguments).last_hidden_state[0, -rows:]
        embeddings = self.model.get_input_embeddings()(ids[0, -rows:].to(self.device))
        head_output = self.head(features, embeddings, hidden)
        return self.model.get_output_embeddings()(head_output.to(hidden)), head_output

    def plain_logits(
        self, tokens: Sequence[int], features: torch.Tensor | None = None, *, last: bool = False, **arguments: Any
    ) -> torch.Tensor:
        """float32 logits [n, V] of a forward over a text, without any cache, mask or position of ours.

        Args:
            tokens: n of them.
            features: [n, w], what the head reads, for a draft that reads its target.
            last: only the last row, [1, V].
            arguments: others for the model, such as a cache of transformers'.
        """
        ids = self.plain_ids(tokens)
        rows = 1 if last else len(tokens)
        if features is not None:
            return self._read(ids.cpu(), features[-rows:], rows, {"input_ids": ids, **arguments})[0].float()
        kept = self.last_logits if last else {}
        logits: torch.Tensor = self.model(input_ids=ids, **kept, **arguments).logits[0]
        return logits[-rows:].float()

    def plain_ids(self, tokens: Sequence[int]) -> torch.Tensor:
        """[1, n], as this model's embeddings know them."""
        return upload([[min(token, self.inputs - 1) for token in tokens]], self.device)


def tree_mask(lines: Sequence[tuple[int, ...]], base: int, total: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [1, 1, n, total]: 0 where row i may look, the dtype's smallest number elsewhere.

    Args:
        lines: for each row, the offsets from ``base`` of its ancestors and itself.
        base: committed slots, which every row sees.
        total: slots in use once the rows are appended.
    """
    mask = torch.full((len(lines), total), torch.finfo(dtype).min, dtype=dtype)
    mask[:, :base] = 0
    rows = [i for i, line in enumerate(lines) for _ in line]
    columns = [base + offset for line in lines for offset in line]
    mask[rows, columns] = 0
    return mask[None, None]


def causal_mask(rows: int, base: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [1, 1, rows, base + rows] of plain context."""
    mask = torch.full((rows, base + rows), torch.finfo(dtype).min, dtype=dtype)
    return mask.triu(base + 1)[None, None]


def _written(tokens: Sequence[int], positions: torch.Tensor, mask: torch.Tensor, base: int) -> list[Written]:
    """What was passed for each row, read back from the tensors that were passed."""
    visible = mask[0, 0] == 0
    before = visible[:, :base].sum(-1).tolist()
    sees: list[list[int]] = [[] for _ in tokens]
    for row, column in visible[:, base:].nonzero().tolist():
        sees[row].append(column)
    found = zip(tokens, positions[0].tolist(), sees, before, strict=True)
    return [Written(token, position, tuple(line), count) for token, position, line, count in found]
