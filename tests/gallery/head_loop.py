"""Speculative decoding with a chain from a draft head that reads the target's hidden states.

The head reads pairs: the target's state at a token, and the token after it; below the root its own output in place of
the state. What was drafted leaves its cache after each step, and the accepted tokens are fed again with the target's
states. Lines with step. are the recorder's.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache


def distribution(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Rows of logits -> rows of probabilities."""
    return (logits.float() / temperature).softmax(-1)


@torch.no_grad()
def decode(target, head, ids, rec, *, new_tokens=40, length=3, temperature=0.7, seed=0):
    """Returns ``ids`` and the new tokens. ``rec`` is a specviz.Recorder that knows the prompt."""
    luck = torch.Generator().manual_seed(seed)
    reads = list(head.info.reads)
    columns = head.token_ids if head.token_ids is not None else torch.arange(target.config.vocab_size)
    text, target_cache, head_cache = list(ids), DynamicCache(), DynamicCache()
    states = target(input_ids=torch.tensor([ids[:-1]]), cache=target_cache, output_hidden_states=True).hidden_states
    waiting = torch.cat([states[layer][0] for layer in reads], -1)  # of the tokens whose pairs the head has not read
    while len(text) - len(ids) < new_tokens:
        with rec.step() as step:
            # Draft: the pairs of what was committed, the root's last; then one pair a level.
            drafted_from = head_cache.get_seq_length()
            carry, feed, tokens, q = head.fuse(waiting), text[drafted_from + 1 :], [text[-1]], []
            for _ in range(length):
                past = head_cache.get_seq_length()
                at = torch.arange(past, past + len(feed)) + head.position_offset
                mask = torch.full((len(feed), past + len(feed)), torch.finfo(carry.dtype).min).triu(past + 1)
                own = head(carry, torch.tensor(feed), at, mask[None, None], head_cache)[-1:]
                q.append(distribution(head.logits(own)[0], temperature))
                column = torch.multinomial(q[-1], 1, generator=luck)
                carry, feed = head.recycle(own), columns[column].tolist()
                tokens += feed
            step.tree(tokens)
            step.draft(torch.stack(q), proposal="without_replacement", vocabulary=columns)

            # Score: one forward over the last committed token and all drafted ones.
            scored_from = target_cache.get_seq_length()
            scored = target(input_ids=torch.tensor([tokens]), cache=target_cache, output_hidden_states=True)
            states = torch.cat([scored.hidden_states[layer][0] for layer in reads], -1)
            p = distribution(scored.logits[0], temperature)
            step.target(p, logits=scored.logits[0])

            # Verify: accept with probability min(1, p / q), from the left.
            accepted, coins, ratios = [], {}, {}
            for node in range(1, len(tokens)):
                p_row = p[node - 1]
                q_row = torch.zeros_like(p_row).index_copy_(0, columns, q[node - 1])
                coins[node] = torch.rand((), generator=luck).item()
                ratios[node] = (p_row[tokens[node]] / q_row[tokens[node]]).item()
                if coins[node] >= ratios[node]:
                    row = (p_row - q_row).clamp(min=0)
                    row = row / row.sum()
                    break
                accepted.append(node)
            else:
                row = p[-1]
            bonus = torch.multinomial(row, 1, generator=luck).item()
            step.verify(accepted=accepted, bonus=bonus, coins=coins, thresholds=ratios, bonus_row=row)

            # Commit: the head keeps the pairs of the text, up to the root's.
            kept = len(text) + len(accepted)
            with step.cache("target", target_cache, length=scored_from):
                target_cache.crop(min(0, kept - target_cache.get_seq_length()))
            reused = 0
            head_cache.crop(min(0, len(text) - 1 + reused - head_cache.get_seq_length()))
            waiting = states[reused : len(accepted) + 1]
            text += [tokens[node] for node in accepted] + [bonus]
    rec.end("max_new_tokens")
    return text
