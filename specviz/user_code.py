"""Code of the user's own, named as ``my.module:name``: imported only where somebody typed the name on this machine."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from specviz.errors import SettingsError, shown


def import_named(spec: str, what: str) -> Any:
    """What ``my.module:name`` stands for; the module is looked up as Python does, the current folder first.

    Args:
        what: it is called in messages.

    Raises:
        SettingsError: if it cannot be imported.
    """
    module, _, name = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # a user's module may fail in any way while it is imported
        where = ""
        if isinstance(error, ModuleNotFoundError):
            where = "; start this in the folder that the module is in, or name that folder in PYTHONPATH"
        raise SettingsError(
            f"The {what} {shown(spec)} cannot be imported: {type(error).__name__}: {error}{where}."
        ) from error
