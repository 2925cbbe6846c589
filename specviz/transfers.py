"""Small values between host and device: uploads that do not wait, and many tensors read for one wait.

On a GPU the host runs ahead of the device. It has to wait, until the device has done all it was told, for every value
it reads and for every blocking upload. A step therefore gathers what it wants to know and reads it at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch


def upload(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """``torch.tensor(values, dtype=dtype, device=device)`` without waiting for the device."""
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


def read(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The same tensors on the CPU, bit for bit; those that are there already as they are.

    One wait for each device that any of them is on: their bytes are joined there and travel together.
    """
    found: dict[int, torch.Tensor] = {i: tensor for i, tensor in enumerate(tensors) if tensor.device.type == "cpu"}
    by_device: dict[torch.device, list[int]] = {}
    for i, tensor in enumerate(tensors):
        if i not in found:
            by_device.setdefault(tensor.device, []).append(i)
    for some in by_device.values():
        # The widest first: then every part begins at a multiple of its own width.
        order = sorted(some, key=lambda i: -tensors[i].element_size())
        joined = torch.cat([_bytes(tensors[i]) for i in order]).cpu()
        stops = itertools.accumulate(tensors[i].nbytes for i in order)
        for i, stop in zip(order, stops, strict=True):
            part = joined[stop - tensors[i].nbytes : stop]
            found[i] = part.view(tensors[i].dtype).view(tensors[i].shape)
    return [found[i] for i in range(len(tensors))]


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """[bytes], of the tensor's entries in order."""
    # Of a dimension of one entry the stride is anything, in a contiguous tensor too, and bytes can be seen at stride 1.
    return tensor.contiguous().as_strided((tensor.numel(),), (1,)).view(torch.uint8)


class Reads:
    """What one step still wants to know of its device, until its next read.

    A check of a forward's numbers, say, has time until something is read anyway. On the CPU, where reading costs
    nothing, it is done at once.
    """

    def __init__(self) -> None:
        self._later: list[tuple[Sequence[torch.Tensor], Callable[..., None]]] = []

    def later(self, tensors: Sequence[torch.Tensor], then: Callable[..., None]) -> None:
        """Call ``then`` with these tensors on the CPU, in the next :meth:`now` or :meth:`finish`."""
        if all(tensor.device.type == "cpu" for tensor in tensors):
            then(*tensors)
        else:
            self._later.append((tensors, then))

    def ask(self, *tensors: torch.Tensor) -> Callable[[], list[torch.Tensor]]:
        """A function that gives these tensors on the CPU.

        The first one of several such functions that is called reads what all of them asked for: call none before the
        last one has asked.
        """
        answer: list[list[torch.Tensor]] = []
        self.later(tensors, lambda *on_host: answer.append(list(on_host)))

        def given() -> list[torch.Tensor]:
            if not answer:
                self.finish()
            return answer[0]

        return given

    def now(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """These tensors on the CPU, and before that whatever was put off, in order, for one wait.

        Raises:
            whatever a function that was put off raises. What comes after it is dropped; if the read itself fails,
                nothing is.
        """
        on_host = read(*(tensor for some, _ in self._later for tensor in some), *tensors)
        waiting, self._later = self._later, []
        for some, then in waiting:
            then(*on_host[: len(some)])
            del on_host[: len(some)]
        return on_host

    def finish(self) -> None:
        """Read what was put off; nothing, and no wait, if there is nothing."""
        if self._later:
            self.now()

    def drop(self) -> None:
        """Forget what was put off, after a step that failed."""
        self._later = []
