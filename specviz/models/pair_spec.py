"""Which pair to load, as a value that a form, a command line or another process can hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time it would import torch
    from specviz.models.loading import Pair


@dataclass(frozen=True)
class ModelChoice:
    """What :func:`specviz.models.loading.load_pair` takes, as typed."""

    target: str = "default"
    draft: str = "default"
    device: str = "auto"
    dtype: str = "auto"
    target_quantization: str = "none"
    draft_quantization: str = "none"

    @classmethod
    def of(cls, options: Any) -> ModelChoice:
        """From an object that has the fields as attributes, such as the options of a command line."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    def load(self, progress: Callable[[str, float | None], None] | None = None) -> Pair:
        """The pair; see :func:`~specviz.models.loading.load_pair` for what it may raise."""
        from specviz.models.loading import load_pair

        return load_pair(**asdict(self), progress=progress)
