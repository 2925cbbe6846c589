"""The wrappers of SGLang's and vLLM's sampling kernels: their names, arguments and shapes, on the CPU.

Written for these tests.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from tests.recorder.shapes import toy

BELOW = [1, 3, 5, -1, -1, -1]
BESIDE = [-1, 2, -1, 4, -1, -1]
PARENTS = [-1, 0, 0, 1, 1, 2]
RANKS = [0, 0, 1, 0, 1, 0]


def sglang(greedy: bool, threshold_acc: float = 1.0) -> ModuleType:
    """A module that decides a batch, as ``eagle_info`` of SGLang does."""
    module = ModuleType("sglang_like")

    def tree_speculative_sampling_target_only(
        predicts: Any, accept_index: Any, accept_token_num: Any, candidates: Any, retrive_index: Any,
        retrive_next_token: Any, retrive_next_sibling: Any, uniform_samples: Any,
        uniform_samples_for_final_sampling: Any, target_probs: Any, draft_probs: Any, threshold_single: float = 1.0,
        threshold_acc: float = 1.0, deterministic: bool = True,
    ) -> None:  # fmt: skip
        for i, tokens in enumerate(candidates.tolist()):
            path, children = [0], [1, 2]
            while children:
                at, row, total = path[-1], target_probs[i, path[-1]].clone(), 0.0
                for child in children:
                    total += float(row[tokens[child]])
                    if uniform_samples[i, at] <= total / threshold_acc:
                        path.append(child)
                        break
                    row[tokens[child]] = 0
                else:
                    break
                children = [node for node in range(6) if PARENTS[node] == path[-1]]
                row = target_probs[i, path[-1]]
            last = int((row.cumsum(0) <= uniform_samples_for_final_sampling[i] * row.sum()).sum())
            _write(
                predicts,
                accept_index,
                accept_token_num,
                retrive_index,
                i,
                path,
                [*map(tokens.__getitem__, path[1:]), last],
            )

    def verify_tree_greedy(
        predicts: Any, accept_index: Any, accept_token_num: Any, candidates: Any, retrive_index: Any,
        retrive_next_token: Any, retrive_next_sibling: Any, target_predict: Any,
    ) -> None:  # fmt: skip
        for i, tokens in enumerate(candidates.tolist()):
            path, after = [0], []
            while True:
                after.append(int(target_predict[i, path[-1]]))
                child = [c for c in range(6) if PARENTS[c] == path[-1] and tokens[c] == after[-1]]
                if not child:
                    break
                path.append(child[0])
            _write(predicts, accept_index, accept_token_num, retrive_index, i, path, after)

    class EagleVerifyInput:
        def verify(self, batch: Any, logits_output: Any) -> None:
            size, n = len(batch.reqs), 6
            candidates = torch.tensor([grow([*req.origin_input_ids, *req.output_ids]) for req in batch.reqs])
            logits = torch.stack([
                toy.rows("target", [*req.origin_input_ids, *req.output_ids][:-1], tokens, PARENTS)
                for req, tokens in zip(batch.reqs, candidates.tolist(), strict=True)
            ])  # fmt: skip
            predicts = torch.zeros(size * n, dtype=torch.int32)
            accept_index = torch.full((size, 3), -1, dtype=torch.int32)
            told = {
                "predicts": predicts,
                "accept_index": accept_index,
                "accept_token_num": torch.zeros(size, dtype=torch.int32),
                "candidates": candidates,
                "retrive_index": torch.arange(size * n).view(size, n),
                "retrive_next_token": torch.tensor(BELOW).repeat(size, 1),
                "retrive_next_sibling": torch.tensor(BESIDE).repeat(size, 1),
            }
            if greedy:
                module.verify_tree_greedy(**told, target_predict=logits.argmax(-1))
            else:
                module.tree_speculative_sampling_target_only(
                    **told,
                    uniform_samples=torch.rand(size, n),
                    uniform_samples_for_final_sampling=torch.rand(size),
                    target_probs=logits.softmax(-1),
                    draft_probs=torch.zeros_like(logits),
                    threshold_acc=threshold_acc,
                )
            for req, places in zip(batch.reqs, accept_index.tolist(), strict=True):
                req.output_ids += [int(predicts[place]) for place in places if place >= 0]

    vars(module).update(
        tree_speculative_sampling_target_only=tree_speculative_sampling_target_only,
        verify_tree_greedy=verify_tree_greedy,
        EagleVerifyInput=EagleVerifyInput,
    )
    return module


def _write(
    predicts: Any, accept_index: Any, accept_token_num: Any, index: Any, i: int, path: list[int], after: list[int]
) -> None:
    accept_token_num[i] = len(path) - 1
    for place, (node, token) in enumerate(zip(path, after, strict=True)):
        accept_index[i, place] = index[i, node]
        predicts[index[i, node]] = token


def grow(text: list[int]) -> list[int]:
    tokens, paths = [text[-1]], [text]
    for node in range(1, 6):
        path = paths[PARENTS[node]]
        tokens.append(int(toy.row("draft", path).topk(2).indices[RANKS[node]]))
        paths.append([*path, tokens[-1]])
    return tokens


def serve(module: Any, steps: int) -> list[list[int]]:
    """Decode two requests; the first ends earlier, so that the other changes its row."""
    reqs = [
        SimpleNamespace(rid=name, origin_input_ids=toy.PROMPT[:n], output_ids=[n]) for name, n in (("a", 3), ("b", 2))
    ]
    for step in range(steps):
        module.EagleVerifyInput().verify(SimpleNamespace(reqs=reqs if step < 2 else reqs[1:]), None)
    return [[*req.origin_input_ids, *req.output_ids] for req in reqs]


def vllm(known_draft: bool) -> ModuleType:
    """A module that decides chains, as vLLM's rejection sampler does."""
    module = ModuleType("vllm_like")

    def generate_uniform_probs(
        num_tokens: int, num_draft_tokens: list[int], generators: dict[int, Any], device: Any
    ) -> Any:
        return torch.rand(num_tokens)

    def rejection_sample(
        draft_token_ids: Any, num_draft_tokens: list[int], max_spec_len: int, cu_num_draft_tokens: Any,
        draft_probs: Any, target_probs: Any, bonus_token_ids: Any, sampling_metadata: Any,
    ) -> Any:  # fmt: skip
        found = torch.full((len(num_draft_tokens), max_spec_len + 1), -1)
        coins = None
        if not sampling_metadata.all_greedy:
            coins = module.generate_uniform_probs(len(draft_token_ids), num_draft_tokens, {}, None)
        start = 0
        for i, count in enumerate(num_draft_tokens):
            for place in range(count):
                at, token = start + place, int(draft_token_ids[start + place])
                p = target_probs[at]
                q = torch.eye(len(p))[token] if draft_probs is None else draft_probs[at]
                accepted = int(p.argmax()) == token if coins is None else p[token] / q[token] >= coins[at]
                left = int(p.argmax()) if coins is None else int(torch.multinomial((p - q).clamp(min=0), 1))
                found[i, place] = token if accepted else left
                if not accepted:
                    break
            else:
                found[i, count] = bonus_token_ids[i, 0]
            start += count
        return found

    def generate(texts: list[list[int]], steps: int, greedy: bool) -> None:
        for _ in range(steps):
            drafted: list[int] = []
            q, p, counts, last = [], [], [], []
            for i, text in enumerate(texts):
                path = [*text]
                for _ in range(2 + i):
                    p.append(toy.row("target", path))
                    q.append(toy.row("draft", path).softmax(-1))
                    best = not known_draft or greedy
                    path.append(int(q[-1].argmax() if best else torch.multinomial(q[-1], 1)))
                counts.append(2 + i)
                drafted += path[len(text) :]
                row = toy.row("target", path)
                last.append([int(row.argmax() if greedy else torch.multinomial(row.softmax(-1), 1))])
            logits = torch.stack(p)
            found = module.rejection_sample(
                torch.tensor(drafted), counts, 3, torch.tensor(counts).cumsum(0),
                torch.stack(q) if known_draft else None, logits if greedy else logits.softmax(-1), torch.tensor(last),
                SimpleNamespace(
                    all_greedy=greedy, temperature=None if greedy else torch.ones(len(texts)),
                    output_token_ids=[[*text] for text in texts],
                ),
            )  # fmt: skip
            for text, tokens in zip(texts, found.tolist(), strict=True):
                text += [token for token in tokens if token >= 0]

    vars(module).update(
        generate_uniform_probs=generate_uniform_probs, rejection_sample=rejection_sample, generate=generate
    )
    return module
