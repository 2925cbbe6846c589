"""Errors a user can act on. Each message is one sentence that says what to do; it is shown as it is.

    SpecvizError
    ├── SettingsError      a setting is out of range, unknown, or does not fit another one
    ├── ModelError         a model cannot be found, read, or used for tree verification
    ├── TraceError         a trace file is foreign, broken, too large, or of another schema
    ├── VerifierError      a verifier failed in its own code; says where
    ├── NumericsError      a model returned NaN or infinite logits
    ├── OutOfMemoryError   the device ran out of memory; what was recorded before is intact
    ├── RecorderError      a strict recorder was called wrongly
    └── StoppingError      the server is being stopped

Everything else that escapes is a bug in specviz, but for two KeyboardInterrupts: RecordingInterrupted, which keeps what
was recorded, and RecorderStopped.
"""

from __future__ import annotations

from typing import Any


def shown(value: Any, most: int = 60) -> str:
    """A value as a message names it: one line of at most ``most`` characters, whatever somebody has sent."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole numbers of more than some thousand digits
        text = f"a {type(value).__name__} of very many digits"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def plain(name: object, most: int = 60) -> str:
    """A name as a message writes it, without quotes where it needs none: letters, digits and what joins them."""
    text = str(name)
    return text if len(text) <= most and text.replace("-", "_").replace(".", "_").isidentifier() else shown(text, most)


class SpecvizError(Exception):
    """Base of every error that is shown to the user as one sentence, without a stack trace.

    Attributes:
        trace: the :class:`specviz.Trace` that :func:`specviz.record` had so far; None where nothing was recorded.
    """

    trace: Any = None


class SettingsError(SpecvizError):
    """A setting is out of range, unknown, or does not fit another one."""


class ModelError(SpecvizError):
    """A model cannot be found, read, or used for tree verification."""


class TraceError(SpecvizError):
    """A trace file is foreign, broken, too large, or written in another schema version."""


class VerifierError(SpecvizError):
    """A verifier failed in its own code, or gave a verdict that contradicts itself."""


class NumericsError(SpecvizError):
    """A model returned NaN or infinite logits, so nothing can be sampled from them."""


class OutOfMemoryError(SpecvizError):
    """The device ran out of memory in mid-run; the steps recorded before it are intact."""


class RecorderError(SpecvizError):
    """A call of a strict :class:`specviz.Recorder` that cannot be recorded as it was made."""


class RecorderWarning(UserWarning):
    """The same where the recorder is not strict: what can be recorded is."""


class StoppingError(SpecvizError):
    """The server is being stopped; nothing new is begun."""


class BusyError(SpecvizError):
    """A visitor of the page has its share of something, or all of it is in use; nothing was begun."""


class RecordingInterrupted(KeyboardInterrupt):
    """An interrupt while :func:`specviz.record` was running.

    Attributes:
        trace: the :class:`specviz.Trace` of the steps before it.
    """

    def __init__(self, trace: Any):
        super().__init__(f"stopped after {len(trace.steps)} steps, which the exception holds as its trace")
        self.trace = trace


class RecorderStopped(KeyboardInterrupt):
    """Stop was pressed on the page that steps a loop, whose :class:`specviz.Recorder` has ``gate="raise"``."""
