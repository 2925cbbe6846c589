"""Which draft head a folder or a repository holds, if it holds one.

A draft's config is looked at first. The names and shapes of its tensors are asked for only where the config can be that
of a head, on the hub by a small request, and weights are read once a format knows them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from specviz.errors import ModelError, SettingsError
from specviz.models.heads import dflash, dspark, eagle1, eagle3, medusa, mtp, p_eagle
from specviz.models.heads.fields import SPECULATORS
from specviz.models.heads.head import DraftHead, HeadFormat
from specviz.models.heads.tensors import PICKLES, read_shapes, read_tensors
from specviz.models.hidden_state_head import CONFIG_KEY
from specviz.models.sources import NOT_READ, READ, Source, load_error
from specviz.trace.schema import Option

FORMATS: tuple[HeadFormat, ...] = (
    eagle3.FORMAT,
    p_eagle.FORMAT,
    dspark.FORMAT,
    dflash.FORMAT,
    medusa.FORMAT,
    mtp.FORMAT,
    eagle1.FORMAT,
)
"""In the order in which they are asked."""
_IN_MODELS: tuple[HeadFormat, ...] = (mtp.FORMAT, medusa.FORMAT)
"""Formats whose tensors may lie among those of the target itself."""
MOST_LAYERS = 16
"""A config with more layers is that of a model, unless it says that it has drafting layers beside them."""
_MARKS = (SPECULATORS, "medusa_num_heads", *mtp.COUNTS)
_MOST_CONFIG_BYTES = 16_000_000


class _Lazy(Mapping[str, tuple[int, ...]]):
    """Name -> shape of tensors, read when somebody looks."""

    def __init__(self, read: Callable[[], Mapping[str, tuple[int, ...]]]):
        self._read = read

    @cached_property
    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._read()

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def find_head(source: Source, target_config: Any, by_hand: Mapping[str, Option] | None = None) -> DraftHead | None:
    """The head that ``source`` holds, on the CPU and not bound; None where it holds another thing.

    Args:
        target_config: of the model that it will read.
        by_hand: options that the user set, and ``reads``.

    Raises:
        ModelError: if it is a head that cannot be run: broken, or made for another target.
        SettingsError: if something is set by hand that this format has not.
    """
    config = raw_config(source)
    found = head_format(source, config)
    if found is None or config is None:
        return None
    return found.build(config, read_tensors(_folder(source)), target_config, by_hand or {})


def is_head(source: Source) -> bool:
    """Whether it holds a draft head, and not a whole model with a head in its files."""
    found = head_format(source, raw_config(source))
    return found is not None and not (found in _IN_MODELS and "model.embed_tokens.weight" in _shapes(source))


def head_format(source: Source, config: Mapping[str, Any] | None) -> HeadFormat | None:
    """The format that knows these files."""
    if config is None or not _may_be_head(source, config):
        return None
    shapes = _Lazy(lambda: _shapes(source))
    try:
        return next((one for one in FORMATS if one.fits(config, shapes)), None)
    except ModelError:
        if _has_tokenizer(source):  # a model's files: whoever loads them says what is wrong, once they were judged
            return None
        raise


def raw_config(source: Source) -> dict[str, Any] | None:
    """What a config.json holds: of a head no class of transformers need know it. None if there is none."""
    from transformers.utils.hub import cached_file

    if source.built_in or source.adapter is not None:
        return None
    try:
        path = cached_file(source.place, "config.json", revision=source.revision, local_files_only=source.local_only)
        if path is None or Path(path).stat().st_size > _MOST_CONFIG_BYTES:
            return None
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # whoever reads it as a model's says what is wrong with it
    return config if isinstance(config, dict) else None


def _has_tokenizer(source: Source) -> bool:
    """Whether a tokenizer lies beside the weights, as it does in a model's files."""
    from transformers.utils.hub import cached_file

    try:
        for name in ("tokenizer_config.json", "tokenizer.json"):
            if cached_file(source.place, name, revision=source.revision, local_files_only=source.local_only):
                return True
    except (OSError, ValueError):
        pass
    return False


def _may_be_head(source: Source, config: Mapping[str, Any]) -> bool:
    if CONFIG_KEY in config:  # specviz's own: a model with a head
        return False
    if any(config.get(mark) for mark in _MARKS):
        return True
    layers = config.get("num_hidden_layers", 0)
    return isinstance(layers, int) and layers <= MOST_LAYERS


def _shapes(source: Source) -> Mapping[str, tuple[int, ...]]:
    if Path(source.place).is_dir() or source.local_only:
        return read_shapes(_folder(source))
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError

    try:
        files = HfApi().get_safetensors_metadata(source.place, revision=source.revision).files_metadata
        return {name: tuple(info.shape) for file in files.values() for name, info in file.tensors.items()}
    except NotASafetensorsRepoError:
        return read_shapes(_folder(source))
    except Exception as error:
        raise load_error(error, source.name) from error


def _folder(source: Source) -> Path:
    """Where its files are; those on the hub are downloaded."""
    if Path(source.place).is_dir():
        return Path(source.place)
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            source.place,
            revision=source.revision,
            allow_patterns=[*READ, *PICKLES],
            ignore_patterns=NOT_READ,
            local_files_only=source.local_only,
        )
    except Exception as error:
        raise load_error(error, source.name) from error
    return Path(found)


def in_dtype(head: DraftHead, dtype: torch.dtype) -> DraftHead:
    """The head with its weights in another number format; rotary frequencies stay as they are."""
    for parameter in head.parameters():
        parameter.data = parameter.data.to(dtype)
    return head


def quantized_head(name: str) -> SettingsError:
    """For a quantization beside a draft that is a head."""
    return SettingsError(f"{name} is a draft head, which is not quantized; set its quantization to none.")


def not_a_head(name: str) -> ModelError:
    """For options of a head beside a draft that is none."""
    return ModelError(f"{name} is no draft head; leave out what is set of one by hand, or choose a head as draft.")
