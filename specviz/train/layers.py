"""Training the layers of a draft that reads nothing but tokens, starting from those that it has."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from specviz.errors import ModelError
from specviz.models.loading import Pair
from specviz.train.chats import read_chats
from specviz.train.draft_files import write_draft
from specviz.train.output_loss import OutputStudent
from specviz.train.student import Example, TrainingPlan, side_by_side


class LayerStudent(OutputStudent):
    """The draft's layers, for a draft that reads nothing but tokens."""

    def __init__(self, pair: Pair, plan: TrainingPlan):
        super().__init__(pair, plan)
        self._model = grown(pair, plan.layers)
        self._model.train().requires_grad_(False)
        self.parameters = {n: p for n, p in self._model.model.named_parameters() if not n.startswith("embed_tokens")}
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self.fixed: dict[str, torch.Tensor] = {}

    def read(self, folder: Path) -> list[Example]:
        """The chats."""
        return [Example(chat) for chat in read_chats(folder)]

    def begin(self, examples: Sequence[Example]) -> None:
        """Nothing: the layers are there already."""

    def hidden(self, examples: Sequence[Example], generator: torch.Generator) -> torch.Tensor:  # noqa: ARG002
        """The last hidden states; nothing is drawn."""
        ids, places = side_by_side([example.chat for example in examples])
        out: torch.Tensor = self._model.model(input_ids=ids, use_cache=False).last_hidden_state[places]
        return out

    def write(self, folder: Path) -> Path:
        """The trained layers."""
        return write_draft(self._model, folder)


def grown(pair: Pair, layers: int) -> Any:
    """A copy of the pair's draft with ``layers`` layers; new ones are the target's early ones and add nothing yet."""
    draft, target = pair.draft_model.model, pair.target.model
    old = draft.config.num_hidden_layers
    if layers < old:
        raise ModelError(f"The draft has {old} layers already; ask for that many or more.")
    config = copy.deepcopy(draft.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[0]] * layers
    model = type(draft)(config).float()
    names = dict(model.state_dict())
    for name, value in draft.state_dict().items():
        # The draft's last layer becomes the last of the new model: the output head was trained on what it writes.
        moved = name.replace(f"layers.{old - 1}.", f"layers.{layers - 1}.") if old > 1 else name
        names[moved].copy_(value)
    for new in range(old - 1, layers - 1):
        model.model.layers[new].load_state_dict(target.model.layers[new].state_dict())
        torch.nn.init.zeros_(model.model.layers[new].self_attn.o_proj.weight)
        torch.nn.init.zeros_(model.model.layers[new].mlp.down_proj.weight)
    return model
