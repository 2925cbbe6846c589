"""The uniform numbers that an engine has drawn, drawn again from a copy of its random generator.

Nothing of the engine's generator is touched: a generator of our own takes the state from before the engine's function,
and only if it then ends in the state that the engine's has, these were the numbers.
"""

from __future__ import annotations

import random
from typing import Any


class PythonCoins:
    """Of ``random.random()``; made right before the engine draws."""

    def __init__(self) -> None:
        self._before = random.getstate()

    def drawn(self, count: int) -> list[float] | None:
        """The ``count`` numbers that were drawn since; None if others were, too, or fewer."""
        again = random.Random()
        again.setstate(self._before)
        coins = [again.random() for _ in range(count)]
        return coins if again.getstate() == random.getstate() else None


class TorchCoins:
    """Of ``torch.rand(1, device=...)``; made right before the engine draws."""

    def __init__(self, device: Any):
        self._device = device
        self._before = self._state()

    def _state(self) -> Any:
        import torch

        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else torch.get_rng_state()

    def drawn(self, count: int) -> list[float] | None:
        """As of :class:`PythonCoins`."""
        import torch

        if self._device.type not in ("cpu", "cuda"):
            return None
        again = torch.Generator(self._device)
        again.set_state(self._before)
        coins = [float(torch.rand(1, generator=again, device=self._device)) for _ in range(count)]
        return coins if again.get_state().equal(self._state()) else None
