"""Which devices a model's layers are put on: one device, or all GPUs where one is too small."""

from __future__ import annotations

from typing import Any

import torch

from specviz.errors import OutOfMemoryError
from specviz.models.devices import free_memory
from specviz.models.memory import MemoryPlan

SHARE = 0.9
"""How much of the free memory of a card weights may take when a model is spread; caches and forwards need the rest."""


def device_map(device: torch.device, quantization: str, plan: MemoryPlan | None) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that say where the model goes.

    Spread by accelerate over all cards only if the plan says that the pair does not fit on this one, and there are
    others.
    """
    if device.type == "cpu":
        # Where there is a card, quantized models would go there without being asked to.
        return {} if quantization == "none" else {"device_map": {"": "cpu"}}
    if device.type == "cuda" and plan is not None and plan.fits is False and torch.cuda.device_count() > 1:
        return {"device_map": "auto", "max_memory": spread_memory()}
    return {"device_map": {"": device}}


def spread_memory() -> dict[int, int]:
    """Card -> bytes of weights it may get. The host's memory is not among them: nothing is offloaded to it."""
    free = {card: free_memory(torch.device("cuda", card)) or 0 for card in range(torch.cuda.device_count())}
    return {card: int(SHARE * size) for card, size in free.items()}


def room_for_weights(device: torch.device) -> int | None:
    """Bytes that weights could take: on the device, or on all cards together. None where unknown."""
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        return sum(spread_memory().values())
    return free_memory(device)


def refuse_offloading(model: Any, name: str) -> None:
    """OutOfMemoryError if accelerate put layers where there is no memory to run them: on the host or the disk."""
    places = {str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()}
    if len(places) > 1 and places & {"cpu", "disk"}:
        raise OutOfMemoryError(f"{name} does not fit on all cards together; choose a quantization or a smaller model.")
