"""A strategy with MCSD's methods: their names, arguments and shapes. Written for these tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from tests.recorder.shapes import toy


def accept(ground_probs: Any, cand_probs: Any, cand_tokens: Any) -> int | None:
    """Without replacement; both rows are changed in place, as MCSD's are."""
    for index, token in enumerate(cand_tokens.tolist()):
        if torch.rand(1) <= ground_probs[token] / cand_probs[token]:
            return index
        ground_probs.sub_(cand_probs).clamp_(min=0)
        ground_probs.div_(ground_probs.sum())
        cand_probs[token] = 0
        cand_probs = cand_probs / cand_probs.sum()
    return None


def accept_naive(ground_probs: Any, cand_probs: Any, cand_tokens: Any) -> int | None:
    drawn = int(torch.multinomial(ground_probs, 1))
    if drawn in cand_tokens.tolist():
        return cand_tokens.tolist().index(drawn)
    ground_probs[:] = 0
    ground_probs[drawn] = 1
    return None


class Strategy:
    """The tree in one row of ``sequences``, or, with ``batched``, each path in a row of its own."""

    def __init__(self, temperature: float, *, speculative_sampling: bool = True, batched: bool = False):
        self.k_config = (3, 2, 1)
        self.draft_model_temp = self.target_model_temp = temperature
        self.replacement, self.speculative_sampling = False, speculative_sampling
        self.batched = batched
        # Hidden states are logits already, so that the head has nothing to do.
        self.target_model = SimpleNamespace(lm_head=nn.Identity())
        self.draft_model = SimpleNamespace(lm_head=nn.Identity())
        self.acceptance_check = accept if speculative_sampling else accept_naive

    def generate_draft(self, input_ids: Any, past_key_values: Any) -> Any:
        paths, cand_probs, levels = [input_ids[0].tolist()], [], []
        for count in self.k_config:
            logits = torch.stack([toy.row("draft", path) for path in paths])
            if self.draft_model_temp == 0:
                top = logits.topk(count)
                probs = torch.zeros_like(logits).scatter_(1, top.indices, top.values.softmax(-1))
                tokens = top.indices
            else:
                probs = (logits / self.draft_model_temp).softmax(-1)
                tokens = torch.multinomial(probs, count)
            cand_probs.append(probs)
            levels += tokens.flatten().tolist()
            paths = [[*path, token] for path, some in zip(paths, tokens.tolist(), strict=True) for token in some]
        found = torch.tensor(paths if self.batched else [[*input_ids[0].tolist(), *levels]])
        return SimpleNamespace(sequences=found, past_key_values=None, cand_probs=tuple(cand_probs))

    def verify(
        self, input_ids: Any, target_model_past_key_values: Any, draft_model_past_key_values: Any, cand_probs: Any
    ) -> Any:
        if self.batched:
            length = input_ids.shape[1] - len(self.k_config)
            paths = input_ids.tolist()
            hidden = torch.stack(
                [torch.stack([toy.row("target", path[: length + d]) for d in range(4)]) for path in paths]
            )
        else:
            length = input_ids.shape[1] - 15
            tokens = input_ids[0, length - 1 :].tolist()
            parents = [-1, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9]
            hidden = toy.rows("target", input_ids[0, : length - 1].tolist(), tokens, parents)[None]
        logits = self.target_model.lm_head(hidden)
        if self.target_model_temp == 0:
            probs = torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1)
        else:
            probs = (logits / self.target_model_temp).softmax(-1)
        text = input_ids[0, :length].tolist()
        sizes, starts = (3, 6, 6), (1, 4, 10)
        place, row = 0, probs[0, 0]
        accepted = 0
        for depth, count in enumerate(self.k_config):
            children = range(place * count, (place + 1) * count)
            if self.batched:
                stride = len(probs) // sizes[depth]
                tokens = input_ids[[child * stride for child in children], length + depth]
            else:
                tokens = input_ids[0, [length + starts[depth] - 1 + child for child in children]]
            index = self.acceptance_check(row, cand_probs[depth][place], tokens)
            if index is None:
                break
            place, accepted = children[index], accepted + 1
            text.append(int(tokens[index]))
            row = probs[place * stride, depth + 1] if self.batched else probs[0, starts[depth] + place]
        sequences = torch.tensor([[*text, int(torch.multinomial(row, 1))]])
        return SimpleNamespace(sequences=sequences, acceptance_count=accepted)


def generate(strategy: Strategy, steps: int) -> list[int]:
    ids = torch.tensor([toy.PROMPT])
    for _ in range(steps):
        drafted = strategy.generate_draft(ids, past_key_values=None)
        ids = strategy.verify(
            input_ids=drafted.sequences,
            target_model_past_key_values=None,
            draft_model_past_key_values=None,
            cand_probs=drafted.cand_probs,
        ).sequences
    return [int(token) for token in ids[0]]
