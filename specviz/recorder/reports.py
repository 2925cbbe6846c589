"""What is wrong with a recorder's calls: told once for each kind of mistake, and never raised into a loop unasked."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from specviz.errors import RecorderError, RecorderWarning, shown
from specviz.recorder.arrays import WrongCall


class Reports:
    """Of one recorder.

    Args:
        strict: raise instead of warning.
    """

    def __init__(self, strict: bool):
        self._strict = strict
        self._lock = threading.Lock()
        self._told: set[tuple[str, str]] = set()

    def __call__(
        self, call: str, kind: str, sentence: str, cause: BaseException | None = None, *, raising: bool = True
    ) -> None:
        """Warn, once for each kind; raise where that was asked for."""
        text = f"specviz: {' '.join(sentence.split())[:500]}"
        if self._strict and raising:
            raise RecorderError(text) from cause
        with self._lock:
            if (call, kind) in self._told:
                return
            self._told.add((call, kind))
        warnings.warn(f"{text}; this is said once.", RecorderWarning, stacklevel=_outside())

    @contextmanager
    def calling(self, name: str, told: list[str] | None = None) -> Iterator[None]:
        """What goes wrong in a call of ours is told, and not raised into the loop.

        Args:
            told: the sentence is added here.
        """
        cause: Exception | None = None
        try:
            yield
        except RecorderError:
            raise
        except WrongCall as wrong:
            kind, sentence = wrong.kind, str(wrong)
        except Exception as error:
            kind, sentence, cause = type(error).__name__, f"{type(error).__name__}: {error}", error
        else:
            return
        sentence = sentence if sentence.startswith(name) else f"{name}(): {sentence}"
        if told is not None:
            told.append(sentence)
        self(name, kind, sentence, cause)

    def careful(self, decode: Callable[[list[int]], str]) -> Callable[[list[int]], str]:
        """``decode`` as it is called here: a token that it has no text for is shown as its number."""

        def careful(tokens: list[int]) -> str:
            try:
                return decode(tokens)
            except Exception as error:
                self("decode", "decode", f"decode({shown(tokens)}) failed: {type(error).__name__}: {error}", error)
                return " ".join(f"‹{token}›" for token in tokens)

        return careful


def _outside() -> int:
    """How far up the caller is who is not of this folder: a warning names the line of the loop."""
    here, level, frame = os.path.dirname(__file__), 1, sys._getframe(1)
    while frame.f_back is not None and (
        os.path.dirname(frame.f_code.co_filename).startswith(here) or frame.f_code.co_filename.endswith("contextlib.py")
    ):
        frame, level = frame.f_back, level + 1
    return level
