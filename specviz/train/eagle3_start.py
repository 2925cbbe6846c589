"""Where the training of an EAGLE-3 head starts: at the best linear prediction of the target's last hidden state.

The target's output head turns that state into its distribution, so the head's output is to be just that state one token
on. Least squares predicts it from the states that the head reads and the token's embedding. The first part becomes
``fc``. The second has to pass through the attention, the one place where the layer reads embeddings: in the first head
of every group of queries, each token attends to itself, and the values carry as much of the prediction as has room
(the components of the largest variance). Perceptrons, and the other heads of the attention, add nothing yet, and
``lm_head`` is the target's, of the tokens drafted. A perceptron of the target's would be no start: the last one's inner
activations are so large that the first small step of its output weights ruins everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from specviz.models.heads.eagle3 import Eagle3Head
from specviz.train.student import Example

FITTED = 432
"""Chats from which the fit is made."""
RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Strengths of the ridge penalty, relative to every input's own mean square; the best on every tenth chat is taken."""
SELF = 16.0
"""Score of a token's attention to itself; unlike tokens have about none."""


@torch.no_grad()
def start_from_target(head: Eagle3Head, target: Any, examples: Sequence[Example]) -> None:
    """Give a new head its start.

    Args:
        head: with random layers and ``token_ids`` chosen.
        target: a model of transformers.
        examples: with the states that the head reads, and after them the last one.
    """
    output = target.get_output_embeddings().weight
    ids = head.token_ids
    columns = slice(None) if ids is None else ids.to(output.device)
    assert head.lm_head is not None
    head.lm_head.weight.copy_(output[columns])
    for layer in _layers(head):
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()

    some = examples[:: max(1, len(examples) // FITTED)]
    weights, gram = _fitted(head, target, some)
    read = head.fc.in_features
    head.fc.weight.copy_(weights[:read].T)
    _attend_to_itself(head, weights[read:], gram[read:, read:])
    last = torch.from_numpy(np.concatenate([_states(example)[2:, read:] for example in some]).astype(np.float32))
    head.norm.weight.fill_(float(last.square().mean(-1).sqrt().mean()))  # the norm leaves a state's scale as it is


def _fitted(head: Eagle3Head, target: Any, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the best linear prediction: weights [read + hidden, hidden], inner products of its inputs, a square."""
    wide, hidden, device = head.fc.in_features + head.config.hidden_size, head.config.hidden_size, head.fc.weight.device
    gram, right = torch.zeros(2, wide, wide, device=device), torch.zeros(2, wide, hidden, device=device)
    for number, example in enumerate(examples):
        inputs, wanted = _rows(head, target, example)
        gram[int(number % 10 == 9)] += inputs.T @ inputs
        right[int(number % 10 == 9)] += inputs.T @ wanted

    def solved(gram: torch.Tensor, right: torch.Tensor, strength: float) -> torch.Tensor:
        return torch.linalg.solve(gram + torch.diag(strength * gram.diagonal() + 1e-6), right)

    def error(strength: float) -> float:  # on the tenth, but for what is the same for all
        weights = solved(gram[0], right[0], strength)
        return float((weights * (gram[1] @ weights - 2 * right[1])).sum())

    best = min(RIDGES, key=error)
    return solved(gram.sum(0), right.sum(0), best), gram.sum(0)


def _rows(head: Eagle3Head, target: Any, example: Example) -> tuple[torch.Tensor, torch.Tensor]:
    """[n, read + hidden] what is read at the pairs of a chat, [n, hidden] the target's last hidden state at its tokens.

    The hidden states at the first place of a text are unlike all others, so that pair is left out.
    """
    chat, device = example.chat, head.fc.weight.device
    known = torch.from_numpy(_states(example).astype(np.float32)).to(device)
    tokens = torch.from_numpy(np.concatenate([chat.prompt, chat.reply]).astype(np.int64)).to(device)
    embeddings = target.get_input_embeddings()(tokens[2:]).float()
    read, last = known[1:-1, : head.fc.in_features], known[2:, head.fc.in_features :]
    if head.fc_norm is not None:
        parts = read.chunk(len(head.fc_norm), dim=-1)
        read = torch.cat([norm(part) for norm, part in zip(head.fc_norm, parts, strict=True)], dim=-1)
    return torch.cat([read, _layers(head)[0].input_layernorm(embeddings)], dim=-1), last


def _attend_to_itself(head: Eagle3Head, weights: torch.Tensor, gram: torch.Tensor) -> None:
    """Let the attention add what ``weights`` [hidden, hidden] make of a token's embedding.

    Args:
        gram: [hidden, hidden], of the embeddings.
    """
    config, attention = head.config, _layers(head)[0].self_attn
    hidden, size, groups = config.hidden_size, config.head_dim, config.num_key_value_heads
    each = config.num_attention_heads // groups
    # Components of what is added, the largest first; reduced-rank regression.
    _, components = torch.linalg.eigh(weights.T @ gram @ weights)
    components = components.flip(-1)[:, : groups * size]
    room = components.shape[1]
    attention.v_proj.weight.zero_()[:room, :hidden] = components.T @ weights.T
    random = torch.Generator().manual_seed(0)
    for group in range(groups):
        # Equal queries and keys of a normed embedding score SELF with each other, the rotation being the same.
        scale = (SELF / size**0.5 / hidden) ** 0.5
        same = scale * torch.randn(size, hidden, generator=random).to(weights.device)
        attention.k_proj.weight[group * size : (group + 1) * size, :hidden] = same
        rows = slice(group * each * size, (group * each + 1) * size)
        attention.q_proj.weight[rows, :hidden] = same
        attention.q_proj.weight[rows, hidden:] = 0
        part = components[:, group * size : (group + 1) * size]
        attention.o_proj.weight[:, rows.start : rows.start + part.shape[1]] = part


def _states(example: Example) -> np.ndarray:
    assert example.states is not None
    return example.states


def _layers(head: Eagle3Head) -> list[Any]:
    return list(head.body)
