"""Engines that are recorded in one line: nothing of theirs is edited, and all hooks are undone on exit."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import AbstractContextManager
from typing import Any

from specviz.errors import SettingsError, shown
from specviz.recorder.recorder import Recorder

ADAPTERS = {
    "tree_functions": None,
    "mcsd": None,
    "sequoia": None,
    "sglang": None,
    "vllm": None,
    "transformers_generate": "transformers",
}
"""Modules of this folder, each with ``fits(thing)`` and ``attach(thing, path, **options)``; the first that fits is
taken. With a library that the module imports: while nobody has imported that, nothing of it can be given."""


def attach(thing: Any, path: str | os.PathLike[str] | None = None, **options: Any) -> AbstractContextManager[Recorder]:
    """Record an engine of a known shape while the block runs.

        with specviz.attach(model, "run.jsonl", tokenizer=tokenizer) as rec:
            model.generate(**inputs, assistant_model=draft)

        with specviz.attach(eagle.model.ea_model, "run.jsonl", decode=tokenizer.decode) as rec:
            model.eagenerate(input_ids)

    Args:
        thing: whose functions are hooked: a model of transformers (docs/attach.md), or a module, a class or an object
            (docs/engines.md).
        path: the recording; None: kept in memory.
        options: as of :class:`specviz.Recorder`, e.g. ``decode``, ``rows`` or ``strict``, and those of the adapter.
            The prompt of every request is read from the engine.

    Raises:
        SettingsError: if it has the shape of no engine that is known.
    """
    for name, library in ADAPTERS.items():
        if library is not None and library not in sys.modules:
            continue
        adapter = importlib.import_module(f"{__name__}.{name}")
        if adapter.fits(thing):
            attached: AbstractContextManager[Recorder] = adapter.attach(thing, path, **options)
            return attached
    raise SettingsError(
        f"{shown(thing)} has not the shape of an engine that can be attached (docs/engines.md lists them); record "
        "the steps of your loop with specviz.Recorder."
    )
