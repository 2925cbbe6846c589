"""Which of the target's hidden states a draft reads, and how they are read in a forward."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from specviz.errors import ModelError


@dataclass(frozen=True)
class Reading:
    """What is read of a target.

    Attributes:
        layers: of its hidden states, as transformers counts them: 0 is the embeddings, k the output of layer k.
        before_norm: whether the output of the last layer is taken before the final norm; transformers gives it after.
    """

    layers: tuple[int, ...]
    before_norm: bool = False


def run_and_read(model: Any, reading: Reading, run: Callable[..., Any]) -> tuple[Any, torch.Tensor]:
    """What a forward gives, and the states [n, layers x hidden] that are read of it, side by side.

    Args:
        model: of transformers.
        run: the forward of one text (batch size 1), which takes ``output_hidden_states``.
    """
    last: list[torch.Tensor] = []

    def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
        last.append(output[0] if isinstance(output, tuple) else output)

    before_norm = reading.before_norm and model.config.num_hidden_layers in reading.layers
    with last_layer(model).register_forward_hook(keep) if before_norm else nullcontext():
        output = run(output_hidden_states=list(reading.layers))
    chosen = [
        last[-1][0] if before_norm and layer == model.config.num_hidden_layers else output.hidden_states[layer][0]
        for layer in reading.layers
    ]
    return output, torch.cat([states.to(chosen[0].device) for states in chosen], dim=-1)


def plain_states(model: Any, ids: torch.Tensor, layers: tuple[int, ...], *, before_norm: bool = False) -> torch.Tensor:
    """[n, layers x hidden]: hidden states of a plain forward of a transformers model over a text [1, n], uncached."""

    def run(**arguments: Any) -> Any:
        # Only the body is run: the logits are not needed.
        return model.base_model(input_ids=ids, use_cache=False, **arguments)

    return run_and_read(model, Reading(layers, before_norm), run)[1]


def last_layer(model: Any) -> nn.Module:
    """The last of the layers of a transformers model, whose output goes into the final norm.

    Raises:
        ModelError: if the model has no list of as many layers as its config says.
    """
    layers = model.config.num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == layers:
            return module[-1]
    raise ModelError(
        f"The last layer of {type(model).__name__} was not found, so its state before the final norm cannot be read; "
        "choose a draft that reads other states."
    )
