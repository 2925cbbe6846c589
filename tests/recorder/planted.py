"""A decoding loop of somebody's own, on small random models, with faults that can be planted in it.

A tree drawn without replacement, a cache that is gathered by hand, multi-round rejection in place: as
research code does it. Each step is handed over as a :class:`RawStep`, with its rows copied (or not: that is a fault).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from specviz.recorder.raw_step import CacheReading, RawStep
from specviz.trace.schema import Sampling

FAULTS = (
    "no compaction",
    "positions + 1",
    "mask leaks a sibling",
    "stale residual",
    "q not renormalised",
    "verified at another temperature",
    "draft cache two short",
    "argmax drafts judged with softmax q",
    "drafted at T=1, judged at T=2",
    "rows not copied",
)


@dataclass
class Loop:
    """Decode and hand over each step.

    Attributes:
        temperature: of target and draft; 0 takes the most likely token, drafts with top-k children and verifies them
            by rejection with point masses, which is greedy decoding.
        widths: children of each node, level by level.
    """

    target: PreTrainedModel
    draft: PreTrainedModel
    prompt: list[int]
    temperature: float = 1.0
    widths: tuple[int, ...] = (3, 2)
    fault: str | None = None
    seed: int = 0
    text: list[int] = field(default_factory=list)

    @torch.no_grad()
    def run(self, steps: int) -> Iterator[RawStep]:
        self.random = torch.Generator().manual_seed(self.seed)
        self.text = list(self.prompt)
        self.cache = DynamicCache()
        self.target(input_ids=torch.tensor([self.text[:-1]]), past_key_values=self.cache)
        for index in range(steps):
            yield self._step(index)

    def _row(self, logits: torch.Tensor, temperature: float) -> torch.Tensor:
        if temperature == 0:
            return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
        return (logits.float() / temperature).softmax(-1).to(logits.dtype)

    def _draw(self, row: torch.Tensor, count: int = 1) -> list[int]:
        return torch.multinomial(row.float(), count, generator=self.random).tolist()

    def _step(self, index: int) -> RawStep:
        fault, text, t = self.fault, self.text, self.temperature
        proposal = "top_k" if t == 0 else "without_replacement"
        judged_at = 2.0 if fault == "drafted at T=1, judged at T=2" else t
        tokens, parents, rows, expanded, level = [text[-1]], [-1], [], [], [0]
        for width in self.widths:
            below = []
            for node in level:
                path, at = [], node
                while at >= 0:
                    path.append(tokens[at])
                    at = parents[at]
                past = text[:-3] if fault == "draft cache two short" else text[:-1]
                logits = self.draft(input_ids=torch.tensor([past + path[::-1]])).logits[0, -1]
                rows.append(self._row(logits, judged_at if t else 1.0))
                expanded.append(node)
                if t == 0 or fault == "argmax drafts judged with softmax q":
                    drawn = logits.topk(width).indices.tolist()
                else:
                    drawn = self._draw(self._row(logits, t), width)
                for token in drawn:
                    below.append(len(tokens))
                    tokens.append(token)
                    parents.append(node)
            level = below
        depths = [0] * len(tokens)
        for node in range(1, len(tokens)):
            depths[node] = depths[parents[node]] + 1

        base, n = len(text) - 1, len(tokens)
        positions = torch.tensor([[base + depth + (fault == "positions + 1") for depth in depths]])
        mask = torch.full((n, base + n), torch.finfo(self.target.dtype).min, dtype=self.target.dtype)
        mask[:, :base] = 0
        for node in range(n):
            at = node
            while at >= 0:
                mask[node, base + at] = 0
                at = parents[at]
        if fault == "mask leaks a sibling":
            mask[2, base + 1] = 0
        logits = self.target(
            input_ids=torch.tensor([tokens]),
            position_ids=positions,
            attention_mask=mask[None, None],
            past_key_values=self.cache,
        ).logits[0]
        p_all = self._row(logits, judged_at)
        q_all = torch.stack(rows)
        kept = (lambda x: x.detach().float().numpy()) if fault == "rows not copied" else _copy
        said_p, said_q = kept(p_all), kept(q_all)
        before = self._fingerprints(base)

        path, node, coins, thresholds = [], 0, {}, {}
        while True:
            children = [child for child in range(1, n) if parents[child] == node]
            p = p_all[node]
            if not children:
                break
            q = rows[expanded.index(node)].clone()
            if fault == "verified at another temperature":
                p = self._row(logits[node], 2 * judged_at)
            stale = p.clone()
            for child in children:
                x = tokens[child]
                u = float(torch.rand((), generator=self.random))
                ratio = float(p[x]) if proposal == "top_k" else float(p[x] / q[x])
                coins[child], thresholds[child] = u, ratio
                if u < ratio:
                    path.append(child)
                    node = child
                    break
                stale = p.clone()
                if proposal == "top_k":
                    p[x] = 0
                else:
                    p.sub_(q).clamp_(min=0)
                    q[x] = 0
                    if fault != "q not renormalised":
                        q.div_(q.sum())
                if float(p.sum()) > 0:
                    p.div_(p.sum())
            else:
                if fault == "stale residual":
                    p = stale
                break
        (bonus,) = self._draw(p)
        said_bonus_row = _copy(p)

        keep = [0, *path]
        if fault == "no compaction":
            keep = list(range(len(keep)))
        index_kept = torch.tensor([*range(base), *(base + node for node in keep)])
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[:, :, index_kept], layer.values[:, :, index_kept]
        after = self._fingerprints(base)
        committed = [tokens[node] for node in path] + [bonus]
        self.text = text + committed
        sampling = Sampling(temperature=t)
        return RawStep(
            index=index,
            context=len(text),
            tokens=tokens,
            parents=parents,
            text=list(text),
            proposal=proposal,
            q=said_q,
            q_nodes=expanded,
            p=said_p,
            p_logits=_copy(logits),
            p_nodes=list(range(n)),
            target_sampling=sampling.model_copy(update={"temperature": judged_at}),
            draft_sampling=sampling.model_copy(update={"temperature": judged_at or 1.0}),
            rule="rejection",
            lossless=True,
            accepted=path,
            bonus=bonus,
            committed=committed,
            coins=coins,
            thresholds=thresholds,
            bonus_row=said_bonus_row,
            positions=positions[0].tolist(),
            mask=(mask == 0).numpy(),
            caches={"target": CacheReading(base, base + n, base + len(keep), before, after)},
            dtype=str(self.target.dtype).removeprefix("torch."),
            draft_dtype=str(self.draft.dtype).removeprefix("torch."),
        )

    def _fingerprints(self, start: int) -> tuple[str, ...]:
        columns = [x[0, :, start:].float() for layer in self.cache.layers for x in (layer.keys, layer.values)]
        return tuple(
            f"{hash(tuple(float(v) for column in columns for v in column[:, slot].flatten())) & (1 << 48) - 1:012x}"
            for slot in range(columns[0].shape[1])
        )


def _copy(rows: torch.Tensor) -> np.ndarray:
    return rows.detach().float().clone().numpy()
