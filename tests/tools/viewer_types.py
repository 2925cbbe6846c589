"""What the viewer's scripts know of Python: ``python -m tests.tools.viewer_types --write`` makes it again.

``core/frame.d.ts`` has the types of all that travels to the browser, ``core/constants.js`` the tables and limits that
both sides share. Without ``--write`` it says which of the two is old.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import types
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from typing_extensions import is_typeddict

from specviz.figures import block_types, cache_types, frame_types, whatif_types
from specviz.figures.audit import DECADES
from specviz.figures.export import VIEWER_FOLDER
from specviz.figures.node import COMPARISONS
from specviz.figures.outcomes import OUTCOMES
from specviz.trace.schema import INFINITE_DIFFERENCE

MADE = "/* Made by `python -m tests.tools.viewer_types --write`: change it in Python. */\n"
PLAIN = {int: "number", float: "number", str: "string", bool: "boolean", type(None): "null", Any: "any"}


def made() -> dict[Path, str]:
    """Both files, as they should be."""
    core = VIEWER_FOLDER / "core"
    return {core / "frame.d.ts": MADE + frame_types_text(), core / "constants.js": MADE + constants_text()}


def frame_types_text() -> str:
    """The types of blocks and of everything in them, as TypeScript declares them."""
    declared: dict[str, str] = {}
    for module in (frame_types, cache_types, block_types, whatif_types):
        for value in vars(module).values():
            if is_typeddict(value) and value.__module__ == module.__name__:
                _declare(value, declared)
    phases = f"export type Phase = {_type(frame_types.Phase, declared)};\n"
    return "\n".join([*declared.values(), phases])


def _declare(kind: Any, declared: dict[str, str]) -> str:
    """The name of a class, which is declared with everything in it the first time that it is met."""
    name: str = kind.__name__
    if name not in declared:
        declared[name] = ""  # it may mention itself
        recorded = isinstance(kind, type) and issubclass(kind, BaseModel)
        fields = get_type_hints(kind, include_extras=True)
        if recorded:
            fields = {field: fields[field] for field in kind.model_fields}
        optional = frozenset() if recorded else kind.__optional_keys__
        lines = [f"  {field}{'?' * (field in optional)}: {_type(it, declared)};" for field, it in fields.items()]
        said = inspect.cleandoc(kind.__doc__ or "").replace("*/", "* /")
        comment = "".join(f" * {line}".rstrip() + "\n" for line in said.splitlines())
        declared[name] = f"/**\n{comment} */\nexport interface {name} {{\n" + "\n".join(lines) + "\n}\n"
    return name


def _type(kind: Any, declared: dict[str, str]) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is None and kind in PLAIN:
        return PLAIN[kind]
    if origin is Annotated:
        recorded = next((one for one in inside[1:] if isinstance(one, frame_types.JsonOf)), None)
        return _declare(recorded.kind, declared) if recorded else _type(inside[0], declared)
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in inside)
    if origin in (Union, types.UnionType):
        return " | ".join(_type(one, declared) for one in inside)
    if origin in (list, tuple):
        item = _type(inside[0], declared)
        return f"({item})[]" if "|" in item else f"{item}[]"
    if origin is dict:
        return f"Record<{_type(inside[0], declared)}, {_type(inside[1], declared)}>"
    return _declare(kind, declared)


def constants_text() -> str:
    """Tables of Python's that scripts use, as a module."""
    outcomes = {letter: asdict(outcome) for letter, outcome in OUTCOMES.items()}
    return "\n".join(
        [
            "\n/** What a verifier made of a node, by letter: mark and words (specviz/figures/outcomes.py).",
            " * @type {Record<string, {mark: string, words: string}>} */",
            f"export const OUTCOMES = {json.dumps(outcomes, ensure_ascii=False, indent=2)};",
            "\n/** What a decision compared; its column has the place (specviz/figures/node.py). */",
            f"export const COMPARISONS = {json.dumps(COMPARISONS)};",
            "\n/** Powers of ten that part the shades of an audit (specviz/figures/audit.py). */",
            f"export const DECADES = {json.dumps(DECADES)};",
            "\n/** Recorded for a difference that is no finite number (specviz/trace/values.py). */",
            f"export const INFINITE_DIFFERENCE = {INFINITE_DIFFERENCE!r};\n",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    old = [path for path, text in made().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in old:
        if write:
            path.write_text(made()[path], encoding="utf-8")
        print(f"{path.name} {'is made' if write else 'is old; add --write'}")
    return int(bool(old) and not write)


if __name__ == "__main__":
    sys.exit(main())
