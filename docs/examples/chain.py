"""Speculative decoding with a chain and two DynamicCaches (transformers 5.24). Lines with step. are the recorder's."""

from __future__ import annotations

import torch
from transformers import DynamicCache


def distribution(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Rows of logits -> rows of probabilities; temperature 0 puts all on the most likely token."""
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0).float()
    return (logits.float() / temperature).softmax(-1)


@torch.no_grad()
def decode(target, draft, ids, rec, *, new_tokens=40, length=4, temperature=1.0, seed=0):
    """Returns ``ids`` and the new tokens. ``rec`` is a specviz.Recorder that knows the prompt."""
    luck = torch.Generator().manual_seed(seed)
    text = list(ids)
    target_cache, draft_cache = DynamicCache(), DynamicCache()
    if len(ids) > 1:
        target(input_ids=torch.tensor([ids[:-1]]), cache=target_cache)
        draft(input_ids=torch.tensor([ids[:-1]]), cache=draft_cache)
    while len(text) - len(ids) < new_tokens:
        with rec.step() as step:
            # Draft: the draft's cache may lack the last committed tokens.
            drafted_from = draft_cache.get_seq_length()
            feed, tokens, q = text[drafted_from:], [text[-1]], []
            for _ in range(length):
                logits = draft(input_ids=torch.tensor([feed]), cache=draft_cache).logits[0, -1]
                q.append(distribution(logits, temperature))
                feed = torch.multinomial(q[-1], 1, generator=luck).tolist()
                tokens += feed
            step.tree(tokens)
            step.draft(torch.stack(q), proposal="without_replacement")

            # Score: one forward over the last committed token and all drafted ones.
            scored_from = target_cache.get_seq_length()
            logits = target(input_ids=torch.tensor([tokens]), cache=target_cache).logits[0]
            p = distribution(logits, temperature)
            step.target(p, logits=logits)

            # Verify: accept with probability min(1, p / q), from the left.
            accepted, coins, ratios = [], {}, {}
            for node in range(1, len(tokens)):
                token, p_row, q_row = tokens[node], p[node - 1], q[node - 1]
                coins[node] = torch.rand((), generator=luck).item()
                ratios[node] = (p_row[token] / q_row[token]).item()
                if coins[node] >= ratios[node]:
                    row = (p_row - q_row).clamp(min=0)
                    row = row / row.sum()
                    break
                accepted.append(node)
            else:
                row = p[-1]
            bonus = torch.multinomial(row, 1, generator=luck).item()
            step.verify(accepted=accepted, bonus=bonus, coins=coins, thresholds=ratios, bonus_row=row)

            # Commit: of the caches only what is text is kept; the bonus is in neither.
            kept = len(text) + len(accepted)
            with step.cache("target", target_cache, length=scored_from):
                target_cache.crop(min(0, kept - target_cache.get_seq_length()))
            with step.cache("draft", draft_cache, length=drafted_from):
                draft_cache.crop(min(0, kept - draft_cache.get_seq_length()))
            text += [tokens[node] for node in accepted] + [bonus]
    rec.end("max_new_tokens")
    return text
