"""Random weights of real shapes, made on this machine: what a step costs does not depend on what the weights know.

Nothing is fetched. The models are saved as folders and loaded as anybody's are, with every check and quantization that
belongs to it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from specviz.errors import SettingsError, shown
from specviz.models.hidden_state_head import CONFIG_KEY, FILE, HiddenStateHead

TARGET = "target"
_HEAD_WIDTH = 1_024
"""Of the perceptron of a draft that reads its target."""


@dataclass(frozen=True)
class Shape:
    """A llama.

    Attributes:
        wide: numbers between the two products of a feed-forward layer.
        reads: layers of the target whose hidden states a draft reads; empty for a draft that reads tokens only.
    """

    hidden: int
    layers: int
    heads: int
    wide: int
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Size:
    """A target and the drafts that are tried with it, by name; all share V = ``vocabulary``."""

    vocabulary: int
    target: Shape
    drafts: Mapping[str, Shape]
    dtype: torch.dtype = torch.bfloat16
    positions: int = 16_384

    @property
    def shapes(self) -> dict[str, Shape]:
        return {TARGET: self.target, **self.drafts}


SIZES = {
    # Llama 2 7B, a draft as llama-68m, and one as EAGLE-3's: few layers of the target's width, which reads its states.
    "7b": Size(
        32_000,
        Shape(4_096, 32, 32, 11_008),
        {"68m": Shape(768, 2, 12, 3_072), "2-layers": Shape(4_096, 2, 32, 11_008, reads=(2, 16, 32))},
    ),
    # The same in small, to try the command where no card is.
    "tiny": Size(
        512, Shape(64, 2, 4, 128), {"68m": Shape(32, 2, 4, 64), "2-layers": Shape(64, 2, 4, 128, reads=(0, 1, 2))}
    ),
}


def ensure_models(folder: Path, size: Size, device: torch.device) -> Path:
    """The folder with one folder for each model of ``size``; those that are not there yet are made.

    Args:
        device: on which the numbers are drawn; a card is faster.

    Raises:
        SettingsError: if they cannot be written.
    """
    try:
        for name in size.shapes:
            if not (folder / name).is_dir():
                _make(folder, name, size, device)
    except OSError as error:
        raise SettingsError(
            f"No models can be written to {str(folder)!r} ({shown(error)}); name another folder, with room for them."
        ) from error
    return folder


def _make(folder: Path, name: str, size: Size, device: torch.device) -> None:
    """Write beside the place and move there, so that no half of a model is taken for one."""
    half = folder / f"{name}.part"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    shape = size.shapes[name]
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(0x5EED + list(size.shapes).index(name))
        with device:
            random_model(shape, size).save_pretrained(half)
    if shape.reads:
        _save_head(half / FILE, shape, size)
    _tokenizer(size.vocabulary).save_pretrained(half)
    half.rename(folder / name)


def random_model(shape: Shape, size: Size) -> Any:
    """One model, on the device and from the random numbers of its surroundings."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.wide,
        max_position_embeddings=size.positions,
        tie_word_embeddings=False,
    )
    if shape.reads:
        setattr(config, CONFIG_KEY, list(shape.reads))
    return AutoModelForCausalLM.from_config(config, dtype=size.dtype)


def _save_head(path: Path, shape: Shape, size: Size) -> None:
    from safetensors.torch import save_file

    read = len(shape.reads) * size.target.hidden
    head = HiddenStateHead(shape.reads, shape.hidden, read, min(_HEAD_WIDTH, shape.hidden))
    generator = torch.Generator().manual_seed(0x5EED)
    state = head.state_dict()
    for tensor in state.values():
        if tensor.ndim == 2:
            tensor.normal_(std=1 / math.sqrt(tensor.shape[1]), generator=generator)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def _tokenizer(vocabulary: int) -> Any:
    """Bytes, and names for all other ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*bytes_, *(f"token{id}" for id in range(len(bytes_), vocabulary))]
    backend = Tokenizer(models.BPE(vocab={piece: id for id, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)
