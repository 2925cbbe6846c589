"""A draft that reads its target: a small head over the draft's layers takes the target's hidden states as input.

The target's hidden states one place before a token hold more of the context than a small draft model can (EAGLE, arXiv
2401.15077; states of several layers: EAGLE-3, arXiv 2503.01840). The head is a perceptron over those states, the
token's embedding and the draft's own last hidden state (as in Hydra, arXiv 2402.05109, whose heads have no layers below
them). The head's output replaces the draft's last hidden state before the output projection, so the draft's layers and
its KV cache are the same with and without it.

The target has computed hidden states at the parent of the root only. Below the root the head predicts them from its own
output at the parent.

Such a draft is a model with a head, and no :class:`~specviz.models.heads.head.StepHead`. Its layers read tokens alone:
there is a slot for every token of the text, the first one too, and the slots of accepted nodes are right and stay. A
step head's slots hold pairs of a state and a token, none for the first token, and those below the root are fed again.
What the two share is how the target's states are read (:mod:`specviz.models.target_states`) and recorded
(``HeadInfo``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from specviz.errors import ModelError
from specviz.models.sources import Source

FILE = "features.safetensors"
"""Beside a draft's weights: those of a :class:`HiddenStateHead`."""
CONFIG_KEY = "specviz_target_layers"
"""In a draft's config: the target's layers it reads."""
FARTHEST = 5.0
"""Features are clamped to so many standard deviations from the mean."""


class HiddenStateHead(nn.Module):
    """The head of a draft of hidden size d that reads w numbers of its target.

    It reads *features*: the target's hidden states less their mean, divided by their standard deviation and clamped.
    Raw states will not do, because at a text's first place and in a few columns they are thousands of times as large as
    everywhere else.

    The names of its parameters and buffers are the names of the tensors in :data:`FILE`.

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

    def forward(self, features: torch.Tensor, embeddings: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The hidden state [..., d] that the output head reads.

        Args:
            features: [..., w], of the target's hidden states one place before the token.
            embeddings: [..., d], of the token.
            hidden: [..., d], the draft's last hidden state at the token.
        """
        x = self.inputs(features, embeddings, hidden)
        out: torch.Tensor = self.skip(x) + self.outer(nn.functional.gelu(self.inner(x)))
        return out

    def inputs(self, features: torch.Tensor, embeddings: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """[..., w + 2 d]: what the perceptron reads."""
        return torch.cat([features, embeddings.to(features) / self.embedding_spread, hidden.to(features)], dim=-1)

    def features(self, states: torch.Tensor) -> torch.Tensor:
        """Features [..., w] of the target's hidden states [..., w]."""
        return ((states.to(self.mean) - self.mean) / self.spread).clamp(-FARTHEST, FARTHEST)

    def predict(self, output: torch.Tensor) -> torch.Tensor:
        """Features [..., w] that the target would have where the head's ``output`` is [..., d]."""
        features: torch.Tensor = self.guess_map(output).clamp(-FARTHEST, FARTHEST)
        return features

    def text_features(self, states: torch.Tensor | None) -> torch.Tensor:
        """Features [n + 1, w] to read at the n tokens of a text and at the one after them.

        Args:
            states: [n, w], the target's hidden states at the n tokens; None for n = 0. No state stands before the first
                token, so the features read there are zeros, the mean.
        """
        first = torch.zeros_like(self.mean)[None]
        return first if states is None else torch.cat([first, self.features(states)])


def read_head(source: Source, config: Any, target_config: Any) -> HiddenStateHead | None:
    """The head of a draft in float32, or None for a draft that reads only tokens.

    Args:
        source: the draft's, a folder or a repository on the hub.
        config, target_config: of the draft and of the target whose states it will read.

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
        head = HiddenStateHead(tuple(map(int, layers)), config.hidden_size, w, width)
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
