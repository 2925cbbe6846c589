"""Speculative decoding with a tree, a mask and a cache that is compacted. The recorder's lines begin with step."""

from __future__ import annotations

import torch
from transformers import DynamicCache


def distribution(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Rows of logits -> rows of probabilities; temperature 0 puts all on the most likely token."""
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0).float()
    return (logits.float() / temperature).softmax(-1)


@torch.no_grad()
def decode(target, draft, ids, rec, *, new_tokens=40, widths=(3, 2), temperature=1.0, seed=0):
    """Returns ``ids`` and the new tokens. ``rec`` is a specviz.Recorder that knows the prompt."""
    luck = torch.Generator().manual_seed(seed)
    sampled = temperature > 0  # otherwise siblings are the most likely tokens, and stand for themselves: q is 1
    text, cache = list(ids), DynamicCache()
    if len(ids) > 1:
        target(input_ids=torch.tensor([ids[:-1]]), cache=cache)
    while len(text) - len(ids) < new_tokens:
        with rec.step() as step:
            # Draft: level by level, each node with its whole text, so that the draft needs no cache.
            tokens, parents, paths, q, level = [text[-1]], [-1], [[0]], [], [0]
            for width in widths:
                past = text[:-1]
                rows = [past + [tokens[node] for node in paths[parent]] for parent in level]
                logits = draft(input_ids=torch.tensor(rows)).logits[:, -1]
                q += distribution(logits, temperature if sampled else 1.0)
                below = []
                for parent, row in zip(level, q[-len(level) :], strict=True):
                    drawn = torch.multinomial(row, width, generator=luck) if sampled else row.topk(width).indices
                    for token in drawn.tolist():
                        below.append(len(tokens))
                        tokens.append(token)
                        parents.append(parent)
                        paths.append([*paths[parent], below[-1]])
                level = below
            step.tree(tokens, parents)
            step.draft(torch.stack(q), proposal="without_replacement" if sampled else "top_k")

            # Score: one forward over all nodes, each of which sees the text and its ancestors.
            past, nodes = len(text) - 1, len(tokens)
            positions = [past + len(path) - 1 for path in paths]
            mask = torch.full((nodes, past + nodes), torch.finfo(target.dtype).min, dtype=target.dtype)
            mask[:, :past] = 0
            for node, path in enumerate(paths):
                mask[node, [past + other for other in path]] = 0
            logits = target(
                input_ids=torch.tensor([tokens]),
                position_ids=torch.tensor([positions]),
                attention_mask=mask[None, None],
                cache=cache,
            ).logits[0]
            p = distribution(logits, temperature)
            step.target(p, logits=logits, positions=positions, mask=mask)

            # Verify: try the children in turn; after a rejection p is the residual and q lacks the token.
            accepted, coins, ratios, node = [], {}, {}, 0
            while True:
                p_row = p[node]
                children = [child for child, parent in enumerate(parents) if parent == node]
                q_row = q[node].clone() if children else None
                for child in children:
                    token = tokens[child]
                    q_used = q_row if sampled else torch.zeros_like(q_row).index_fill_(0, torch.tensor(token), 1.0)
                    coins[child] = torch.rand((), generator=luck).item()
                    ratios[child] = (p_row[token] / q_used[token]).item()
                    if coins[child] < ratios[child]:
                        accepted.append(child)
                        break
                    p_row.sub_(q_used).clamp_(min=0)
                    p_row.div_(p_row.sum())
                    q_row[token] = 0
                    q_row.div_(q_row.sum())
                if node == (accepted or [0])[-1]:  # no child was accepted
                    break
                node = accepted[-1]
            bonus = torch.multinomial(p_row, 1, generator=luck).item()
            step.verify(accepted=accepted, bonus=bonus, coins=coins, thresholds=ratios, bonus_row=p_row)

            # Commit: the slots of the root and of the accepted nodes are gathered, the others dropped.
            with step.cache("target", cache, length=past):
                keep = [0, *accepted]
                index = torch.tensor([*range(past), *(past + node for node in keep)])
                for layer in cache.layers:
                    layer.keys, layer.values = layer.keys[:, :, index], layer.values[:, :, index]
            text += [tokens[node] for node in accepted] + [bonus]
    rec.end("max_new_tokens")
    return text
