"""Speculative decoding of a batch, padded on the left. Each request has steps of its own, in one recording."""

from __future__ import annotations

from contextlib import ExitStack

import torch


def distribution(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Rows of logits -> rows of probabilities; temperature 0 puts all on the most likely token."""
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0).float()
    return (logits.float() / temperature).softmax(-1)


def forward(model, rows: list[list[int]]) -> torch.Tensor:
    """Logits [batch, longest, vocabulary] of rows of different length."""
    longest = max(map(len, rows))
    pads = torch.tensor([longest - len(row) for row in rows])
    places = torch.arange(longest).expand(len(rows), longest)
    return model(
        input_ids=torch.tensor([[0] * (longest - len(row)) + row for row in rows]),
        attention_mask=(places >= pads[:, None]).long(),
        position_ids=(places - pads[:, None]).clamp(min=0),
    ).logits


@torch.no_grad()
def decode(target, draft, prompts, rec, *, new_tokens=40, length=3, temperature=1.0, seed=0):
    """Returns every request's text. ``prompts``: name of the request -> its token ids."""
    luck = torch.Generator().manual_seed(seed)
    texts = {name: list(ids) for name, ids in prompts.items()}
    for name, ids in prompts.items():
        rec.prompt(ids, request=name)
    while live := [name for name, text in texts.items() if len(text) - len(prompts[name]) < new_tokens]:
        with ExitStack() as stack:
            steps = [stack.enter_context(rec.step(request=name)) for name in live]

            # Draft: all requests at once, a token at a time.
            chains: list[list[int]] = [[] for _ in live]
            q: list[list[torch.Tensor]] = [[] for _ in live]
            for _ in range(length):
                logits = forward(draft, [texts[name] + chain for name, chain in zip(live, chains, strict=True)])
                for rows, chain, row in zip(q, chains, distribution(logits[:, -1], temperature), strict=True):
                    rows.append(row)
                    chain += torch.multinomial(row, 1, generator=luck).tolist()

            # Score: all requests at once. Of each row the last places are its own chain's.
            logits = forward(target, [texts[name] + chain for name, chain in zip(live, chains, strict=True)])
            p = distribution(logits[:, -length - 1 :], temperature)

            for i, (name, step) in enumerate(zip(live, steps, strict=True)):
                text, tokens = texts[name], [texts[name][-1], *chains[i]]
                step.tree(tokens)
                step.draft(torch.stack(q[i]), proposal="without_replacement")
                step.target(p[i], positions=range(len(text) - 1, len(text) + length))

                # Verify: accept with probability min(1, p / q), from the left.
                accepted, coins, ratios, row = [], {}, {}, p[i, -1]
                for node in range(1, len(tokens)):
                    token, p_row, q_row = tokens[node], p[i, node - 1], q[i][node - 1]
                    coins[node] = torch.rand((), generator=luck).item()
                    ratios[node] = (p_row[token] / q_row[token]).item()
                    if coins[node] >= ratios[node]:
                        row = (p_row - q_row).clamp(min=0)
                        row = row / row.sum()
                        break
                    accepted.append(node)
                bonus = torch.multinomial(row, 1, generator=luck).item()
                step.verify(accepted=accepted, bonus=bonus, coins=coins, thresholds=ratios, bonus_row=row)
                text += [tokens[node] for node in accepted] + [bonus]
    for name in prompts:
        rec.end("max_new_tokens", request=name)
    return texts
