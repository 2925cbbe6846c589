"""specviz: see every step of a speculative decode.

    trace = specviz.record("Why is the sky blue?", chat=True, tree="4,2,2")
    trace  # in a notebook, this shows the viewer
    specviz.save(trace, "run.json.gz")

What ``__all__`` lists is the public interface, described in docs/python.md. Importing specviz imports nothing of it:
every name is fetched when it is first used, and torch only by what runs a model or judges with a verifier.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specviz.api import check, diff, export, load, save
    from specviz.engine.record import record
    from specviz.errors import (
        ModelError,
        NumericsError,
        OutOfMemoryError,
        RecorderError,
        RecorderStopped,
        RecorderWarning,
        RecordingInterrupted,
        SettingsError,
        SpecvizError,
        TraceError,
        VerifierError,
    )
    from specviz.figures.notebook import notebook_html
    from specviz.recorder.adapters import attach
    from specviz.recorder.recorder import Recorder
    from specviz.trace.schema import Trace
    from specviz.verifiers import Verifier

__version__ = "0.1.0"

__all__ = [
    "ModelError",
    "NumericsError",
    "OutOfMemoryError",
    "Recorder",
    "RecorderError",
    "RecorderStopped",
    "RecorderWarning",
    "RecordingInterrupted",
    "SettingsError",
    "SpecvizError",
    "Trace",
    "TraceError",
    "Verifier",
    "VerifierError",
    "__version__",
    "attach",
    "check",
    "diff",
    "export",
    "load",
    "notebook_html",
    "record",
    "save",
]

_MODULES = {
    "specviz.api": ("check", "diff", "export", "load", "save"),
    "specviz.engine.record": ("record",),
    "specviz.errors": (
        *("ModelError", "NumericsError", "OutOfMemoryError", "RecorderError", "RecorderStopped", "RecorderWarning"),
        *("RecordingInterrupted", "SettingsError", "SpecvizError", "TraceError", "VerifierError"),
    ),
    "specviz.figures.notebook": ("notebook_html",),
    "specviz.recorder.adapters": ("attach",),
    "specviz.recorder.recorder": ("Recorder",),
    "specviz.trace.schema": ("Trace",),
    "specviz.verifiers": ("Verifier",),
}
"""Where the names are at run time; the imports above say the same to type checkers and editors."""
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'specviz' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
