"""The viewer's modules as one script, and its style sheets as one, each made by following the imports of an entry.

A page cannot load the modules one by one: an exported file has no address that an import could be resolved against, and
a served one would ask for forty files. So every module becomes a function's body, in an order in which each comes after
what it imports; what it exports is what the function returns. That needs no other tool; tests and type checker take
the modules as they are.

Modules import and export names only, at the beginning of a line: ``import { a, b as c } from "./d.js";`` and ``export
const``, ``function`` or ``class``. Circles are refused. Comments that have lines of their own are left out.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

_IMPORT = re.compile(r'^import \{([^{}]*)\} from "(\.[^"\n]+)";\n', flags=re.M)
_EXPORT = re.compile(r"^export (?=(?:const|class|(?:async )?function) (\w+)\b)", flags=re.M)
_LEFT = re.compile(r"^(?:import|export)\b.*", flags=re.M)
_COMMENT = re.compile(r"^[ \t]*(?:/\*(?:[^*]|\*(?!/))*\*/[ \t]*|//.*)\n", flags=re.M)
_STYLE_IMPORT = re.compile(r'^@import "(\.[^"\n]+)";\n', flags=re.M)


@lru_cache
def script_of(entry: Path) -> str:
    """The script of the module ``entry`` and of all that it imports.

    Raises:
        ValueError: for a circle of imports, a name that is imported and not exported, or an import or export that is
            written in another way.
    """
    parts: dict[Path, str] = {}
    exports: dict[Path, set[str]] = {}
    _add(entry.resolve(), entry.resolve().parent, parts, exports, ())
    return "".join(["(() => {\n", '"use strict";\n', *parts.values(), "})();\n"])


def _add(
    module: Path, folder: Path, parts: dict[Path, str], exports: dict[Path, set[str]], above: tuple[Path, ...]
) -> None:
    """Add a module after everything that it imports."""
    if module in above:
        raise ValueError(f"{' -> '.join(path.name for path in (*above, module))} is a circle of imports.")
    if module in parts:
        return
    text = _COMMENT.sub("", module.read_text(encoding="utf-8"))
    imported = [(names, (module.parent / file).resolve()) for names, file in _IMPORT.findall(text)]
    for names, file in imported:
        _add(file, folder, parts, exports, (*above, module))
        wanted = {name.split(" as ")[0].strip() for name in names.split(",") if name.strip()}
        if unknown := wanted - exports[file]:
            raise ValueError(f"{module.name} imports {', '.join(sorted(unknown))}, which {file.name} does not export.")
    found = _EXPORT.findall(text)
    body = _EXPORT.sub("", _IMPORT.sub("", text)).strip("\n")
    if left := _LEFT.search(body):
        raise ValueError(f"{module.name}: {left.group()!r} is no import or export that can be bundled.")
    heads = [f"const {{{names.replace(' as ', ': ')}}} = {_name(file, folder)};\n" for names, file in imported]
    tail = f"\nreturn {{ {', '.join(found)} }};\n" if found else "\n"
    parts[module] = f"const {_name(module, folder)} = (() => {{\n{''.join(heads)}{body}{tail}}})();\n"
    exports[module] = {*found}


def _name(module: Path, folder: Path) -> str:
    return "$" + module.relative_to(folder).with_suffix("").as_posix().replace("/", "$")


@lru_cache
def style_of(entry: Path) -> str:
    """The style sheet ``entry`` with everything that it imports in its place."""
    text = entry.read_text(encoding="utf-8")
    return _STYLE_IMPORT.sub(lambda found: style_of((entry.parent / found.group(1)).resolve()), text)
