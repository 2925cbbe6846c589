"""A draft that reads its target: a small head corrects what the draft's layers say by the target's hidden states.

What comes after a token is known best by the target itself, whose hidden states one place before the token hold more of
the context than a small model can (EAGLE, arXiv 2401.15077; states of several layers: EAGLE-3, arXiv 2503.01840). The
head is a perceptron over those states, the token's embedding and the draft's own last hidden state (as in Hydra, arXiv
2402.05109, whose heads have no layers below them). The draft's layers, and so its KV cache, know nothing of it.

In a tree only the root has a parent that the target has seen. Below it the head guesses the states from its own output
at the parent.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from specviz.errors import ModelError
from specviz.models.sources import Source

FILE = "features.safetensors"
"""Beside a draft's weights: those of a :class:`ReadingHead`."""
CONFIG_KEY = "specviz_target_layers"
"""In a draft's config: the target's layers it reads."""
FARTHEST = 5.0
"""Spreads from the mean; a state that is farther away is taken as this far."""


class ReadingHead(nn.Module):
    """The head of a draft of hidden size d that reads w numbers of its target.

    States are handled in *units*: their distance from the mean, in spreads. A model's first place, and a few of its
    columns, hold numbers that are thousands of times as large as all others.

    Args:
        layers: which of the target's hidden states are read, as transformers counts them: 0 is the embeddings, k the
            output of layer k, the last one after the final norm.
        d: hidden size of the draft.
        w: len(layers) times the hidden size of the target.
        width: of the perceptron.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    embedding_spread: torch.Tensor

    def __init__(self, layers: tuple[int, ...], d: int, w: int, width: int):
        super().__init__()
        self.layers = layers
        self.d, self.w = d, w
        self.skip = nn.Linear(w + 2 * d, d)
        self.inner = nn.Linear(w + 2 * d, width)
        self.outer = nn.Linear(width, d, bias=False)
        self.guess_map = nn.Linear(d, w)
        self.register_buffer("mean", torch.zeros(w))
        self.register_buffer("spread", torch.ones(w))
        self.register_buffer("embedding_spread", torch.ones(()))

    def forward(self, units: torch.Tensor, embeddings: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The hidden state [..., d] that the output head reads.

        Args:
            units: [..., w], of the target's states one place before the token.
            embeddings: [..., d], of the token.
            hidden: [..., d], the draft's last hidden state at the token.
        """
        x = self.inputs(units, embeddings, hidden)
        out: torch.Tensor = self.skip(x) + self.outer(nn.functional.gelu(self.inner(x)))
        return out

    def inputs(self, units: torch.Tensor, embeddings: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """[..., w + 2 d]: what the perceptron reads."""
        return torch.cat([units, embeddings.to(units) / self.embedding_spread, hidden.to(units)], dim=-1)

    def units(self, states: torch.Tensor) -> torch.Tensor:
        """Units [..., w] of the target's states [..., w]."""
        return ((states.to(self.mean) - self.mean) / self.spread).clamp(-FARTHEST, FARTHEST)

    def guess(self, own: torch.Tensor) -> torch.Tensor:
        """Units [..., w] of the states that the target would have where the head's output is ``own`` [..., d]."""
        found: torch.Tensor = self.guess_map(own).clamp(-FARTHEST, FARTHEST)
        return found

    def of_text(self, states: torch.Tensor | None) -> torch.Tensor:
        """Units [n + 1, w] for the tokens of a text and the one after them, from the states [n, w] at its n places, or
        None for no place at all. Nothing stands before the first token."""
        first = torch.zeros_like(self.mean)[None]
        return first if states is None else torch.cat([first, self.units(states)])


def picked(hidden_states: Any, layers: tuple[int, ...]) -> torch.Tensor:
    """[n, layers x hidden]: of a forward's ``hidden_states`` (batch size 1) the ones of these layers, side by side."""
    chosen = [hidden_states[layer][0] for layer in layers]
    return torch.cat([states.to(chosen[0].device) for states in chosen], dim=-1)


def plain_states(model: Any, ids: torch.Tensor, layers: tuple[int, ...]) -> torch.Tensor:
    """[n, layers x hidden] of a plain forward of a transformers model over a text [1, n], without any cache of ours."""
    # The body alone: nobody wants a product with the vocabulary here.
    return picked(model.base_model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states, layers)


def read_head(source: Source, config: Any, target_config: Any) -> ReadingHead | None:
    """The head of a draft in float32, or None for a draft that reads nothing but tokens.

    Args:
        source: of the draft, a folder or on the hub.
        config, target_config: of the draft and of the target it is to read.

    Raises:
        ModelError: if its file is missing or broken, or was made for another target.
    """
    layers = getattr(config, CONFIG_KEY, None)
    if not layers:
        return None
    from safetensors.torch import load_file
    from transformers.utils.hub import cached_file

    name = source.name
    try:
        path = cached_file(source.place, FILE, revision=source.revision, local_files_only=source.local_only)
        tensors = {key: tensor.float() for key, tensor in load_file(path).items()}
        w, width = len(tensors["mean"]), len(tensors["inner.bias"])
        head = ReadingHead(tuple(map(int, layers)), config.hidden_size, w, width)
        head.load_state_dict(tensors)
    except Exception as error:
        raise ModelError(f"{name} reads its target's hidden states and its {FILE} is missing or broken.") from error
    deepest = max(head.layers, default=0)
    if w != len(head.layers) * target_config.hidden_size or deepest > target_config.num_hidden_layers:
        raise ModelError(
            f"{name} reads the hidden states of another target ({deepest} layers, {w} numbers); choose the target it "
            "was trained for, or another draft."
        )
    return head.eval().requires_grad_(False)
