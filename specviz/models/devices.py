"""Where models run: which device, in which number format, and how much memory it has left."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from specviz.errors import SettingsError, shown
from specviz.models.choices import DEVICES, DTYPES

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def choose_device(device: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``mps``; SettingsError for one that is unknown or not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if device not in available:
        raise SettingsError(f"There is no device {shown(device)}; choose one of {', '.join(DEVICES)}.")
    if not available[device]:
        raise SettingsError(f"PyTorch finds no {device} device on this machine; choose auto or cpu.")
    return torch.device(device)


def check_dtype(dtype: str) -> None:
    """SettingsError unless ``dtype`` is one of :data:`~specviz.models.choices.DTYPES`."""
    if dtype not in DTYPES:
        raise SettingsError(f"There is no dtype {shown(dtype)}; choose {', '.join(DTYPES)}.")


def choose_dtype(dtype: str, checkpoint: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype a model is loaded in.

    ``auto`` is float32 on the CPU, where half precision is slow and a debugger should be exact. On CUDA it is the
    checkpoint's own, float32 included: rounding it would show a model its authors did not publish; bfloat16 becomes
    float16 on cards without it. On MPS it is float32, except for float16 checkpoints.
    """
    if dtype != "auto":
        chosen: torch.dtype = getattr(torch, dtype)
        return chosen
    if device.type == "cuda":
        if checkpoint == torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.float16
        return checkpoint
    if device.type == "mps" and checkpoint == torch.float16:
        return torch.float16
    return torch.float32


def parse_memory(text: str) -> int:
    """``16GB`` -> 16 * 10^9 bytes, ``16GiB`` -> 16 * 2^30; SettingsError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]I?|)B?\s*", text, flags=re.I)
    amount = 0.0 if found is None else float(found[1]) * _UNITS[found[2].upper()]
    size = int(amount) if amount < 2**63 else 0
    if size <= 0:
        raise SettingsError(f"{shown(text)} is no amount of memory; write it like 16GB or 15.5GiB.")
    return size


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None where that is unknown.

    CUDA: free on the card, and what PyTorch holds without using it. CPU: what the system calls available, or less where
    a container is limited to less.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    known = [size for size in (_available(), _left_in_container()) if size is not None]
    return min(known, default=None)


def is_spread(model: Any) -> bool:
    """Whether a model's layers lie on several devices."""
    return len({str(parameter.device) for parameter in model.parameters()}) > 1


def _available() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), flags=re.M)
        if found is not None:
            return int(found[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # no such file or figure on this system
        return None


def _left_in_container() -> int | None:
    """What the memory limit of this container leaves (cgroup v2); files in its page cache give way."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" is no limit, and no number
        used = int((CGROUP / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)", (CGROUP / "memory.stat").read_text(), flags=re.M)
    except (OSError, ValueError):
        return None
    return max(0, limit - used + (int(cached[1]) if cached is not None else 0))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had no room: every kind of device says it in its own way."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The allocators of the CPU and of MPS raise a plain RuntimeError.
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("can't allocate memory" in said or "out of memory" in said)
