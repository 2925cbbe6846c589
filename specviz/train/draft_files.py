"""A trained draft as files, in the form of ``assets/draft``: weights in half precision, and a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from specviz.models.hidden_state_head import CONFIG_KEY, FILE, HiddenStateHead

LARGEST_FILE = 9_000_000
"""Bytes of a weight file, so that the repository can be pushed to a Space without large-file storage."""


def write_draft(model: Any, folder: Path, head: HiddenStateHead | None = None) -> Path:
    """Write layers, final norm, config and head as ``assets/draft`` has them: half precision, small files."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    tensors = {
        name: tensor.detach().half().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(("model.embed_tokens", "lm_head"))
    }
    groups: list[dict[str, torch.Tensor]] = [{}]
    for number in range(model.config.num_hidden_layers):
        layer = {name: tensor for name, tensor in tensors.items() if f".layers.{number}." in name}
        if groups[-1] and _bytes(groups[-1]) + _bytes(layer) > LARGEST_FILE:
            groups.append({})
        groups[-1] |= layer
    groups[-1] |= {name: tensor for name, tensor in tensors.items() if ".layers." not in name}
    for i, group in enumerate(groups):
        save_file(group, folder / f"layers-{i + 1:05d}-of-{len(groups):05d}.safetensors")
    config = model.config.to_dict() | {"dtype": "float16"}
    for key in ("layer_types", CONFIG_KEY, "_name_or_path"):  # the last is a path of this machine
        config.pop(key, None)
    if head:
        config[CONFIG_KEY] = list(head.layers)
        # Means and spreads differ by orders of magnitude, and are few.
        weights = {n: x.half() if n.endswith("weight") else x for n, x in head.state_dict().items()}
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / FILE)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def _bytes(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
