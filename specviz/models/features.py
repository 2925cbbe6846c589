"""A draft that reads its target: the target's hidden states are added to the draft's token embeddings.

What comes after a token is known best by the target itself, whose hidden states one place before the token hold more of
the context than a small model can. So the token at place i enters the draft together with the target's states at place
i - 1 (EAGLE, arXiv 2401.15077; states of several layers: EAGLE-3, arXiv 2503.01840). In a tree only the root has a
parent that the target has seen. Below it the draft's own last hidden state at the parent stands in, and once the target
has scored the tree, the accepted tokens are fed to the draft again, with what the target made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from specviz.errors import ModelError

FILE = "features.safetensors"
"""Beside a draft's weights: the tensors of a :class:`FeatureReader`, by the names of its fields."""
CONFIG_KEY = "specviz_target_layers"
"""In a draft's config: the target's layers it reads."""
TENSORS = ("from_target", "from_draft", "mean", "spread")
FARTHEST = 5.0
"""Spreads from the mean; a state that is farther away is taken as this far."""


@dataclass(frozen=True)
class FeatureReader:
    """The two maps by which states enter a draft of hidden size d.

    Attributes:
        layers: which of the target's hidden states are read, as transformers counts them: 0 is the embeddings, k the
            output of layer k, the last one after the final norm.
        from_target: [d, w], where w is len(layers) times the hidden size of the target.
        from_draft: [d, d], for the draft's last hidden state.
        mean, spread: [w], of the states in the training's chats; states are taken in units of their spread. A model's
            first place, and a few of its columns, hold numbers that are thousands of times as large as all others.
    """

    layers: tuple[int, ...]
    from_target: torch.Tensor
    from_draft: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """By name, as they stand in :data:`FILE`."""
        return {name: getattr(self, name) for name in TENSORS}

    def on(self, device: torch.device) -> FeatureReader:
        """The same maps on another device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def read(self, states: torch.Tensor) -> torch.Tensor:
        """What the target's states [..., w] at some places add to the tokens that follow them: [..., d]."""
        units = (states.to(self.mean) - self.mean) / self.spread
        return units.clamp(-FARTHEST, FARTHEST) @ self.from_target.T

    def feed_back(self, own: torch.Tensor) -> torch.Tensor:
        """What the draft's own last hidden states [..., d] add to the tokens that follow them: [..., d]."""
        return own.to(self.from_draft) @ self.from_draft.T

    def of_text(self, states: torch.Tensor | None) -> torch.Tensor:
        """What is added to a text's tokens and to the one after them: [n + 1, d] from the states [n, ...] at its n
        places, or None for no place at all. Nothing stands before the first token."""
        first = torch.zeros_like(self.from_draft[:1])
        return first if states is None else torch.cat([first, self.read(states)])


def picked(hidden_states: Any, layers: tuple[int, ...]) -> torch.Tensor:
    """[n, layers x hidden]: of a forward's ``hidden_states`` (batch size 1) the ones of these layers, side by side."""
    chosen = [hidden_states[layer][0] for layer in layers]
    return torch.cat([states.to(chosen[0].device) for states in chosen], dim=-1)


def plain_states(model: Any, ids: torch.Tensor, layers: tuple[int, ...]) -> torch.Tensor:
    """[n, layers x hidden] of a plain forward of a transformers model over a text [1, n], without any cache of ours."""
    # The body alone: nobody wants a product with the vocabulary here.
    return picked(model.base_model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states, layers)


def read_features(folder: Path, config: Any, target_config: Any, name: str) -> FeatureReader | None:
    """The reader of a draft folder, or None for a draft that reads nothing but tokens.

    Args:
        folder: of the draft.
        config, target_config: of the draft and of the target it is to read.
        name: of the draft, for messages.

    Raises:
        ModelError: if its file is missing or broken, or was made for another target.
    """
    layers = getattr(config, CONFIG_KEY, None)
    if layers is None:
        return None
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / FILE)
        reader = FeatureReader(tuple(map(int, layers)), **{name: tensors[name].float() for name in TENSORS})
    except Exception as error:
        raise ModelError(f"{name} reads its target's hidden states and its {FILE} is missing or broken.") from error
    d, w = config.hidden_size, len(reader.layers) * target_config.hidden_size
    deepest = max(reader.layers, default=0)
    shapes = [tuple(tensor.shape) for tensor in reader.tensors().values()]
    if shapes != [(d, w), (d, d), (w,), (w,)] or deepest > target_config.num_hidden_layers:
        raise ModelError(
            f"{name} reads the hidden states of another target ({deepest} layers, {reader.from_target.shape[1]} "
            "numbers); choose the target it was trained for, or another draft."
        )
    return reader
