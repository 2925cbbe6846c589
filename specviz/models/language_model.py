"""One model with its slot cache: forwards over any set of rows that form a tree."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from specviz.models.cached_model import CachedModel, Later, Output, causal_mask, written
from specviz.models.compat import cache_argument
from specviz.models.hidden_state_head import HiddenStateHead
from specviz.models.kv_cache import SlotCache
from specviz.models.nonfinite import Origin
from specviz.models.stopwatch import moment
from specviz.models.target_states import Reading, run_and_read
from specviz.trace.schema import ModelInfo
from specviz.transfers import upload

PREFILL_CHUNK = 512
"""Context tokens per prefill forward: bounds the mask and the activations."""


class LanguageModel(CachedModel):
    """A causal language model of transformers, used for tree attention.

    Attributes:
        model: in eval mode, with sdpa attention (additive float masks are right in sdpa and in eager).
        head: with which it reads its target's hidden states, for a draft that does.
    """

    def __init__(self, model: Any, info: ModelInfo, head: HiddenStateHead | None = None):
        super().__init__(info)
        self.model = model
        self.head = head
        config = model.config
        self.vocabulary = config.vocab_size
        self.inputs = model.get_input_embeddings().num_embeddings
        self.layers = config.num_hidden_layers
        self.max_positions = getattr(config, "max_position_embeddings", None) or 1 << 30
        self.device = model.get_input_embeddings().weight.device
        self.dtype = model.dtype
        self.cache_argument = cache_argument(model.forward) or "past_key_values"
        self._takes_logits_to_keep = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.last_logits: dict[str, int] = {"logits_to_keep": 1} if self._takes_logits_to_keep else {}
        """Arguments with which a plain forward computes its last row of logits only, where it can."""

    def forward(
        self,
        cache: SlotCache,
        tokens: Sequence[int],
        parents: Sequence[int],
        rows: int,
        *,
        features: torch.Tensor | None = None,
        reading: Reading | None = None,
        later: Later | None = None,
    ) -> Output:
        """Run n tokens in one forward and append their slots.

        Args:
            cache: of this model; its committed slots are the context of every row.
            tokens: n token ids, see :meth:`known`.
            parents: see :meth:`SlotCache.allocate`.
            rows: how many rows of logits to return: those of the last tokens, at least one.
            features: [rows, w], what the head reads at these rows.
            reading: the hidden states to return.
            later: takes a check of the logits that may be made with the next read, as long as these slots are the last
                ones. Without it the check is made here.

        Raises:
            LogitsError: for logits of which no distribution can be made.
        """
        assert 0 < rows <= len(tokens)
        made, first = self._rows(cache, self.known(tokens), parents), cache.length
        ids = torch.tensor([made.tokens])

        def run() -> Output:
            return self._run(cache, ids, made.positions, made.mask, rows, features, reading)

        output = run()
        cache.log(written(made, cache.num_committed))
        self._check(cache, output.logits, len(tokens), first, run, later)
        return output

    def prefill(
        self,
        cache: SlotCache,
        tokens: Sequence[int],
        *,
        reading: Reading | None = None,
        follow: Callable[[Sequence[int], torch.Tensor], None] | None = None,
    ) -> torch.Tensor | None:
        """Append and commit context tokens in chunks; no logits are computed but the last row's.

        Args:
            reading: the hidden states that are wanted.
            follow: called after each chunk with its tokens and with those of its states, [tokens, layers x hidden].

        Returns:
            [1, layers x hidden], those at the last of the tokens; None for none.
        """
        states: torch.Tensor | None = None
        for start in range(0, len(tokens), PREFILL_CHUNK):
            chunk = self.known(tokens[start : start + PREFILL_CHUNK])
            cache.reserve(len(chunk))
            first = cache.num_committed
            mask = causal_mask(len(chunk), first, self.dtype)
            positions = torch.arange(first, first + len(chunk))[None]
            output = self._run(cache, torch.tensor([chunk]), positions, mask, 1, None, reading)
            cache.commit()
            states = output.states
            if follow is not None and states is not None:
                follow(tokens[start : start + PREFILL_CHUNK], states)
        # A copy: a view would keep those of the whole chunk.
        return None if states is None else states[-1:].clone()

    def origin_in_text(self, tokens: Sequence[int]) -> Origin | None:
        """Where NaN or infinity first appears in a plain forward over a text; None if it does not."""
        return self._origin(lambda: self.model(input_ids=self.plain_ids(tokens), use_cache=False), len(tokens))

    def _modules(self) -> Mapping[str, torch.nn.Module]:
        modules = dict(self.model.named_modules())
        if self.head:
            modules |= {f"head.{name}": module for name, module in self.head.named_modules()}
        return modules

    def _run(
        self,
        cache: SlotCache,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        rows: int,
        features: torch.Tensor | None,
        reading: Reading | None,
    ) -> Output:
        arguments: dict[str, Any] = {
            "input_ids": ids.to(self.device, non_blocking=True),
            "position_ids": positions.to(self.device, non_blocking=True),
            "attention_mask": mask.to(self.device, non_blocking=True),
            "use_cache": True,
            self.cache_argument: cache,
        }
        if self._takes_logits_to_keep and features is None:
            # No other row is worth a product with the whole vocabulary. A number, as an index would be on one device:
            # of a model on several, the hidden states that it is for may be on another.
            arguments["logits_to_keep"] = rows
        start = moment(self.device)
        states: torch.Tensor | None
        if features is not None:
            logits, states = self._read(ids, features, rows, arguments)
        else:
            if reading:
                output, states = run_and_read(self.model, reading, partial(self.model, **arguments))
            else:
                output, states = self.model(**arguments), None
            logits = output.logits[0] if self._takes_logits_to_keep else output.logits[0, -rows:]
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
        return upload([self.known(tokens)], self.device)
