"""Memory plans of models that are not loaded, by name (preset, folder or hub id); no weight is read or downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from specviz.models.checkpoints import check_saved_quantization
from specviz.models.choices import PLANNED_CONTEXT, PLANNED_NODES
from specviz.models.compat import check_config
from specviz.models.devices import check_dtype, choose_dtype, free_memory
from specviz.models.download_cache import ProgressCallback, silent
from specviz.models.head_specs import HeadSpec
from specviz.models.memory import MemoryPlan, ToLoad, of_spec, plan_memory
from specviz.models.presets import DEFAULT_DRAFT, DEFAULT_TARGET, PRESETS, SPECS, spec_of
from specviz.models.quantization import check_quantization
from specviz.models.sources import DEFAULT, Role, Source, find_source, is_folder, load_error
from specviz.models.weight_sizes import config_of


def plan_pair(
    target: str = DEFAULT,
    draft: str = DEFAULT,
    *,
    device: torch.device,
    dtype: str = "auto",
    target_quantization: str = "none",
    draft_quantization: str = "none",
    context: int = PLANNED_CONTEXT,
    nodes: int = PLANNED_NODES,
    device_memory: int | None = None,
    progress: ProgressCallback = silent,
) -> MemoryPlan:
    """The memory plan of two models that are not loaded.

    Args:
        target, draft: as in :func:`specviz.models.loading.load_pair`. Models of the presets are known without a
            request; for others the config is read, a few kilobytes.
        device: where they would run; it need not exist when ``device_memory`` is given.
        dtype: one of :data:`specviz.models.choices.DTYPES`.
        context: tokens of prompt and output together.
        nodes: of the largest tree, the root not counted.
        device_memory: bytes of a whole card, to plan for one that is not here; otherwise what is free on ``device``.

    Raises:
        SettingsError: for an unknown dtype or quantization.
        ModelError: if a config cannot be found or read, or trees cannot be verified with it.
    """
    check_dtype(dtype)
    models: list[ToLoad] = []
    roles: tuple[tuple[Role, str, str], ...] = (
        ("target", target, target_quantization),
        ("draft", draft, draft_quantization),
    )
    for role, name, quantization in roles:
        name, config = read_known_config(name, role, progress)
        check_quantization(quantization, device, name)
        check_saved_quantization(config, name)
        check_config(config, name)
        plain = ToLoad(name, config, planned_dtype(dtype, config, device), quantization)
        # A head is run in the target's number format.
        models.append(of_spec(spec, models[0].dtype) if isinstance(spec := spec_of(name), HeadSpec) else plain)
    free = free_memory(device) if device_memory is None else device_memory
    if (target.strip(), target_quantization) == (draft.strip(), draft_quantization) and target.strip() != DEFAULT:
        models[1] = models[0]
    whole = device_memory is not None and device.type == "cuda"
    return plan_memory(models[0], models[1], context=context, nodes=nodes, free=free, whole_card=whole)


def read_known_config(name: str, role: Role, progress: ProgressCallback = silent) -> tuple[str, Any]:
    """A model's name for messages and its config: from a folder, the presets, or the hub.

    Raises:
        ModelError: if there is none, or it cannot be read.
    """
    name = name.strip()
    own = DEFAULT_TARGET if role == "target" else DEFAULT_DRAFT
    if is_folder(name) and (folder := Path(name).expanduser() / "config.json").is_file():
        folder = folder.parent
        source = Source(folder.resolve().name, str(folder), kind="folder")
    elif (spec := own if name in (DEFAULT, own.id) else spec_of(name)) is not None:
        return name if name != DEFAULT else own.id, config_of(spec)
    else:
        source = find_source(name, role, progress)
    return source.name, read_config(source)


def read_config(source: Source) -> Any:
    """The config alone: a few kilobytes."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.place, **source.arguments())
    except Exception as error:
        raise load_error(error, source.name) from error


def planned_dtype(dtype: str, config: Any, device: torch.device) -> torch.dtype:
    """As :func:`choose_dtype`; for a CUDA card that is not here, what a recent one would take."""
    checkpoint = checkpoint_dtype(config)
    if dtype == "auto" and device.type == "cuda" and not torch.cuda.is_available():
        return checkpoint
    return choose_dtype(dtype, checkpoint, device)


def checkpoint_dtype(config: Any) -> torch.dtype:
    """The dtype the config says the weights are saved in; float32 where it says nothing."""
    saved = getattr(config, "dtype", None)
    if isinstance(saved, str):
        saved = getattr(torch, saved.removeprefix("torch."), None)
    return saved if isinstance(saved, torch.dtype) else torch.float32


def presets_table() -> list[tuple[str, ...]]:
    """Header and a line for each preset, as text."""
    lines: list[tuple[str, ...]] = [("preset", "target", "draft", "licences", "GB as is / int8 / nf4", "notes")]
    for preset in PRESETS.values():
        models = (preset.target, preset.draft)
        licences = ", ".join(dict.fromkeys(model.licence for model in models))
        needs = " / ".join(map(str, preset.gigabytes))
        notes = [preset.note] if preset.note else []
        notes += [f"gated: {' and '.join(model.id for model in models if model.gated)}"] if models[0].gated else []
        names = [f"{model.id} ({_count(model.parameters)})" for model in models]
        lines.append((preset.name, *names, licences, needs, "; ".join(notes)))
    return lines


def presets_text() -> str:
    """The presets for a terminal, one paragraph each, and how to get at gated models."""
    header, *lines = presets_table()
    paragraphs = []
    for name, *cells in lines:
        fields = [f"  {field:<22}{cell}" for field, cell in zip(header[1:], cells, strict=True) if cell]
        paragraphs.append("\n".join([name, *fields]))
    return "\n\n".join([*paragraphs, "\n".join(spec.access for spec in SPECS if spec.access)])


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f}B" if parameters >= 10**9 else f"{parameters / 1e6:.0f}M"
