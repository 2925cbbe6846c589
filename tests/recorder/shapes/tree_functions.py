"""The three functions of EAGLE and those of Medusa: their names, arguments and shapes, and a loop that calls them.

Written for these tests; the decisions are made in the simplest way that gives the same results.
"""

from __future__ import annotations

import random
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from tests.recorder.shapes import toy

# The tree: node -> parent, and the place among the candidates after the path of its parent.
PARENTS = [-1, 0, 0, 1, 1, 2, 3]
RANKS = [0, 0, 1, 0, 1, 0, 0]
PATHS = torch.tensor([[0, 1, 3, 6], [0, 1, 4, -1], [0, 2, 5, -1]])
DEPTHS = torch.tensor([0, 1, 1, 2, 2, 2, 3])
MASK = torch.zeros(7, 7)
for _node in range(7):
    _above = _node
    while _above >= 0:
        MASK[_node, _above] = 1
        _above = PARENTS[_above]


class Model:
    """What ``tree_decoding`` calls: a target whose keys are the tokens that it was fed, slot by slot."""

    def __init__(self) -> None:
        self.base_model = SimpleNamespace(model=SimpleNamespace(tree_mask=MASK[None, None], medusa_mask=None))
        self.cache = torch.zeros(4, 1, 2, 200, 4)  # keys and values of two layers
        self.lengths = torch.zeros(4, dtype=torch.long)

    def feed(self, text: list[int], tokens: list[int], parents: list[int]) -> torch.Tensor:
        used = int(self.lengths[0])
        assert used == len(text), "the cache is not compacted"
        for slot, token in enumerate(tokens, start=used):
            self.cache[..., slot, :] = torch.arange(4.0) + 10 * token + slot
        self.lengths.fill_(used + len(tokens))
        return toy.rows("target", text, tokens, parents)


def grow(text: list[int]) -> torch.Tensor:
    """[1, 7], the most likely candidates of the draft; the last token of the text is the root."""
    tokens = [text[-1]]
    paths = [text]
    for node in range(1, 7):
        path = paths[PARENTS[node]]
        tokens.append(int(toy.row("draft", path).topk(2).indices[RANKS[node]]))
        paths.append([*path, tokens[-1]])
    return torch.tensor([tokens])


def compact(model: Model, keep: list[int], length: int) -> None:
    model.cache[..., length : length + len(keep), :] = model.cache[..., [length + node for node in keep], :]
    model.lengths.fill_(length + len(keep))


def longest(candidates: torch.Tensor, fits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The path whose tokens fit furthest; ``fits`` [paths, depth]."""
    lengths = fits.int().cumprod(1).sum(1)
    return lengths.argmax(), lengths.max()


def _tree_rows(model: Model, tree_candidates: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
    return model.feed(input_ids[0].tolist(), tree_candidates[0].tolist(), PARENTS)[PATHS]


def eagle(fault: str | None = None) -> ModuleType:
    """A module with EAGLE's functions and ``generate``; ``fault``: ``stale`` draws the bonus from a stale residual."""
    module = ModuleType("eagle_like")

    def tree_decoding(
        model: Any, tree_candidates: Any, past_key_values: Any, tree_position_ids: Any, input_ids: Any,
        retrieve_indices: Any,
    ) -> Any:  # fmt: skip
        return _tree_rows(model, tree_candidates, input_ids), None, None

    def evaluate_posterior(logits: Any, candidates: Any, logits_processor: Any) -> Any:
        if logits_processor is None:
            best, accepted = longest(candidates, candidates[:, 1:] == logits[:, :-1].argmax(-1))
            return best, accepted, logits[best, accepted]
        path, best, row = [0], 0, logits_processor(None, logits[0, :1])[0].softmax(-1)
        while True:
            children = list(dict.fromkeys(
                one[len(path)] for one in PATHS.tolist() if len(path) < 4 and one[: len(path)] == path
            ))  # fmt: skip
            for child in [one for one in children if one >= 0]:
                place = next((i, len(path)) for i, one in enumerate(PATHS.tolist()) if child == one[len(path)])
                token = candidates[place]
                if random.random() <= row[token]:
                    path.append(child)
                    best = place[0]
                    row = logits_processor(None, logits[place][None])[0].softmax(-1)
                    break
                if fault is None:
                    row = row.index_fill(0, token, 0)
                    row = row / row.sum()
            else:
                return torch.tensor(best), len(path) - 1, row

    def update_inference_inputs(
        input_ids: Any, candidates: Any, best_candidate: Any, accept_length: Any, retrieve_indices: Any,
        logits_processor: Any, new_token: Any, past_key_values_data_list: Any, current_length_data: Any, model: Any,
        hidden_state_new: Any, sample_p: Any,
    ) -> Any:  # fmt: skip
        kept = retrieve_indices[best_candidate, : accept_length + 1].tolist()
        compact(model, kept, input_ids.shape[1])
        input_ids = torch.cat((input_ids, candidates[None, best_candidate, : accept_length + 1]), dim=1)
        drawn = sample_p.argmax() if logits_processor is None else torch.multinomial(sample_p, 1)[0]
        grown = grow([*input_ids[0].tolist(), int(drawn)])
        return input_ids, grown, PATHS, MASK, DEPTHS, new_token + accept_length + 1, None, drawn[None, None]

    def generate(model: Model, temperature: float, steps: int) -> list[int]:
        processor = (lambda _, scores: scores / temperature) if temperature else None
        ids = torch.tensor([toy.PROMPT])
        model.lengths.fill_(len(toy.PROMPT))
        grown, count = grow([*toy.PROMPT, int(toy.row("target", toy.PROMPT).argmax())]), 0
        for _ in range(steps):
            logits, hidden, _ = module.tree_decoding(model, grown, None, DEPTHS, ids, PATHS)
            candidates = torch.cat((grown, torch.tensor([[-1]])), dim=1)[0, PATHS]
            best, accepted, row = module.evaluate_posterior(logits, candidates, processor)
            ids, grown, _, _, _, count, _, _ = module.update_inference_inputs(
                ids, candidates, best, accepted, PATHS, processor, count, [model.cache], model.lengths, model, hidden,
                row,
            )  # fmt: skip
        return [int(token) for token in ids[0]]

    vars(module).update(
        tree_decoding=tree_decoding,
        evaluate_posterior=evaluate_posterior,
        update_inference_inputs=update_inference_inputs,
        generate=generate,
    )
    return module


def medusa() -> ModuleType:
    """A module with Medusa's functions and ``generate``, with its acceptance of typical tokens."""
    module = ModuleType("medusa_like")

    def tree_decoding(
        model: Any, tree_candidates: Any, past_key_values: Any, medusa_position_ids: Any, input_ids: Any,
        retrieve_indices: Any,
    ) -> Any:  # fmt: skip
        return None, _tree_rows(model, tree_candidates, input_ids), None

    def evaluate_posterior(
        logits: Any, candidates: Any, temperature: Any, posterior_threshold: float = 0.3,
        posterior_alpha: float = 0.09, top_p: float = 0.8, sampling: str = "typical", fast: bool = True,
    ) -> Any:  # fmt: skip
        if temperature == 0:
            return longest(candidates, candidates[:, 1:] == logits[:, :-1].argmax(-1))
        p = (logits[:, :-1] / temperature).softmax(-1)
        least = (posterior_alpha * (p * p.log()).sum(-1).exp()).clamp(max=posterior_threshold)
        return longest(candidates, p.gather(-1, candidates[:, 1:, None])[..., 0] > least)

    def update_inference_inputs(
        input_ids: Any, candidates: Any, best_candidate: Any, accept_length: Any, retrieve_indices: Any, outputs: Any,
        logits: Any, medusa_logits: Any, new_token: Any, past_key_values_data: Any, current_length_data: Any,
    ) -> Any:  # fmt: skip
        kept = retrieve_indices[best_candidate, : accept_length + 1].tolist()
        compact(module.model, kept, input_ids.shape[1])
        input_ids = torch.cat((input_ids, candidates[None, best_candidate, : accept_length + 1]), dim=1)
        return input_ids, logits[None, best_candidate, accept_length], None, new_token + accept_length + 1

    def generate(model: Model, temperature: float, steps: int) -> list[int]:
        module.model = model
        ids, count = torch.tensor([toy.PROMPT]), torch.tensor(0)
        model.lengths.fill_(len(toy.PROMPT))
        row = toy.row("target", toy.PROMPT)[None]
        for _ in range(steps):
            grown = grow([*ids[0].tolist(), int(row.argmax())])
            _, logits, _ = module.tree_decoding(model, grown, None, DEPTHS, ids, PATHS)
            candidates = torch.cat((grown, torch.tensor([[0]])), dim=1)[0, PATHS]
            best, accepted = module.evaluate_posterior(logits, candidates, temperature)
            ids, row, _, count = module.update_inference_inputs(
                ids, candidates, best, accepted, PATHS, None, logits, None, count, model.cache, model.lengths
            )
        return [int(token) for token in ids[0]]

    vars(module).update(
        tree_decoding=tree_decoding,
        evaluate_posterior=evaluate_posterior,
        update_inference_inputs=update_inference_inputs,
        generate=generate,
    )
    return module
