"""Arrays of any library as numpy arrays of our own: copied when they are given, because engines change theirs.

torch is not imported: a tensor is known by what it can do. One on a GPU is copied without waiting, in the order of the
work there, and read when somebody asks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class WrongCall(Exception):
    """A call of the recorder that cannot be recorded as it was made.

    Attributes:
        kind: what kind of mistake it is; each is told of once.
    """

    def __init__(self, sentence: str, kind: str = "array"):
        super().__init__(sentence)
        self.kind = kind


class Snapshot:
    """What an array held when it was given.

    Attributes:
        dtype: the name of its number format, e.g. ``bfloat16``.
        ready: whether it is on the host; else :meth:`get` waits for the device it comes from.
    """

    def __init__(self, dtype: str, read: Callable[[], Array], ready: bool):
        self.dtype, self.ready = dtype, ready
        self._read = read
        self._array: Array | None = None
        if ready:
            self.get()

    def get(self) -> Array:
        """The copy: floating-point numbers as float32 or float64, whole ones and truth values as they were."""
        if self._array is None:
            self._array = self._read()
        return self._array


def snapshot(values: Any) -> Snapshot:
    """Copy an array, a tensor, a number, or lists of them.

    Raises:
        WrongCall: for what is no array of numbers.
    """
    if isinstance(values, (str, bytes)):
        raise WrongCall(
            f"{type(values).__name__} is no array of numbers; give token ids, as tokenizer.encode(text) makes them"
        )
    if isinstance(values, (list, tuple)) and values and hasattr(values[0], "detach"):
        values = _stacked(values)
    if hasattr(values, "detach"):
        return _of_tensor(values.detach())
    try:
        array = np.array(values)
        kind = array.dtype.name
        if array.dtype.kind in "bui":
            kept = array
        else:
            kept = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise WrongCall(f"{type(values).__name__} is no array of numbers ({str(error)[:80]})") from None
    return Snapshot(kind, lambda: kept, True)


def _stacked(tensors: Any) -> Any:
    try:
        return sys.modules["torch"].stack([tensor.detach() for tensor in tensors])
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise WrongCall(f"the tensors of the list cannot be stacked ({str(error)[:80]})") from None


def _of_tensor(tensor: Any) -> Snapshot:
    kind = str(tensor.dtype).removeprefix("torch.")
    half = tensor.is_floating_point() and kind not in ("float32", "float64")
    if tensor.device.type == "cuda":
        return _on_its_way(tensor, kind, half)
    # A conversion is a copy, and so is a transfer; what is neither is copied here.
    host = tensor.to("cpu")
    array = host.float().numpy() if half else host.numpy()
    return Snapshot(kind, lambda: array, True) if half or host is not tensor else Snapshot(kind, array.copy, True)


def _room(tensor: Any) -> Any:
    """Memory of the host that a GPU writes to without being waited for."""
    return sys.modules["torch"].empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)


def _on_its_way(tensor: Any, kind: str, half: bool) -> Snapshot:
    torch = sys.modules["torch"]
    host = _room(tensor)
    host.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(tensor.device))

    def read() -> Array:
        if not arrived.query():
            arrived.synchronize()
        array: Array = (host.float() if half else host.clone()).numpy()
        return array

    return Snapshot(kind, read, False)
