"""Two pretended CUDA cards in this process: torch says that they are there, and whoever listens hears what they do.

There is no way back: a process that has called :func:`install` is of no use for anything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Literal

import torch

from tests.card.build import library

CARDS = 2
MEMORY = 80 * 10**9
CAPABILITY = (9, 0)

Kind = Literal["launch", "upload", "wait", "download"]
KINDS: tuple[Kind, ...] = ("launch", "upload", "wait", "download")
"""An operation that is put in the card's queue; values sent to it that nobody waits for; the host waits for the card;
values sent to the host that nobody waits for, and that arrive with the next wait. An operation with a result whose size
the host must know is a launch and a wait."""
Listener = Callable[[Kind, str, str], None]
"""Called with the kind of an event, the operation, and the dtypes and shapes of its operands."""

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
_NOBODY = _CALLBACK()
_card: Any = None


def install(cards: int = CARDS) -> None:
    """Make this process one with ``cards`` CUDA cards, of which 1 or 2 are shown.

    Raises:
        tests.card.build.Unavailable: where it cannot be.
    """
    global _card
    if _card is None:
        # These look for real cards while they are imported.
        import torch._dynamo
        import transformers.modeling_utils  # noqa: F401

        _card = ctypes.CDLL(str(library()))
        _card.card_allocated.restype = _card.card_waits.restype = ctypes.c_int64
    for module in (torch.cuda, torch.cuda.random, torch.accelerator):
        _patch(module, cards)
    torch.accelerator.current_accelerator = lambda check_available=False: torch.device("cuda")
    torch._C._cuda_isCurrentStreamCapturing = lambda: False


def _patch(module: Any, cards: int) -> None:
    """A module that asks for cards; a name that it does not have does no harm in it."""
    properties = {"name": "pretended", "major": CAPABILITY[0], "minor": CAPABILITY[1], "total_memory": MEMORY}
    properties |= {"multi_processor_count": 132, "warp_size": 32}
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: cards,
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_current_stream_capturing": lambda: False,
        "get_device_capability": lambda device=None: CAPABILITY,
        "get_device_properties": lambda device=None: SimpleNamespace(**properties),
        "get_device_name": lambda device=None: properties["name"],
        "mem_get_info": lambda device=None: (MEMORY - allocated(device), MEMORY),
        "get_memory_info": lambda device=None: (MEMORY - allocated(device), MEMORY),
        "memory_allocated": allocated,
        "memory_reserved": allocated,
        "max_memory_allocated": allocated,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: _card.card_wait(_index(device)),
        "default_generators": (torch.default_generator,) * cards,
        "Event": Event,
        "current_stream": lambda device=None: SimpleNamespace(device_index=_index(device)),
    }
    for name in ("current_device", "current_device_index", "current_device_idx"):
        answers[name] = lambda: int(_card.card_current())
    for name in ("set_device", "set_device_index", "set_device_idx"):
        answers[name] = lambda device: _card.card_select(_index(device))
    for name, answer in answers.items():
        setattr(module, name, answer)


def _index(device: Any) -> int:
    """The card's number; that of the current one for ``cuda`` and None."""
    number = device if isinstance(device, int) or device is None else torch.device(device).index
    return int(_card.card_current()) if number is None else number


def allocated(device: Any = None) -> int:
    """Bytes in use on a card."""
    return int(_card.card_allocated(_index(device)))


class Event:
    """As ``torch.cuda.Event``. It has happened once the host has waited for its card after it was recorded."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False):
        self._timed = enable_timing
        self._recorded: tuple[int, int, float] | None = None

    def record(self, stream: Any = None) -> None:
        card = _index(stream and stream.device_index)
        self._recorded = (card, int(_card.card_waits(card)), time.perf_counter())

    def query(self) -> bool:
        return self._recorded is None or _card.card_waits(self._recorded[0]) > self._recorded[1]

    def synchronize(self) -> None:
        if self._recorded is not None:
            _card.card_wait(self._recorded[0])

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds; a RuntimeError if one of the two has not happened, as on a card."""
        if self._recorded is None or end._recorded is None or not (self._timed and end._timed):
            raise ValueError("Both events must be recorded and have timing enabled")
        if self._recorded[0] != end._recorded[0]:
            raise RuntimeError("CUDA error: invalid resource handle")
        if not (self.query() and end.query()):
            raise RuntimeError("CUDA error: device not ready")
        return 1000 * (end._recorded[2] - self._recorded[2])


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Inside the block, tell ``listener`` of every event. What it raises is raised at the end of the block."""
    errors: list[BaseException] = []

    def told(kind: int, operation: bytes, operands: bytes) -> None:
        try:
            listener(KINDS[kind], operation.decode(), operands.decode())
        except BaseException as error:  # cannot pass through what is not Python
            errors.append(error)

    callback = _CALLBACK(told)
    _card.card_listen(callback)
    try:
        yield
    finally:
        _card.card_listen(_NOBODY)
    if errors:
        raise errors[0]
