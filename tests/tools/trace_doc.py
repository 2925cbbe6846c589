"""The fields of the trace file in docs/trace.md: ``python -m tests.tools.trace_doc --write`` makes them again.

They stand between two marks and come from the types in ``specviz/trace``, with the sentences that stand below them
there. Without ``--write`` it says whether they are old.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from typing import Any, Literal, get_args, get_origin

from specviz.trace import schema, values
from tests.paths import ROOT

PAGE = ROOT / "docs" / "trace.md"
BEGIN, END = "<!-- fields: `python -m tests.tools.trace_doc --write` makes them -->", "<!-- end of fields -->"
PLAIN = {
    "Name": "str",
    "Text": "str",
    "TokenString": "str",
    "Fingerprint": "str",
    "Options": "dict[str, Option]",
    "Nodes": "tuple[Count, ...]",
    "Slots": "tuple[Count, ...]",
    "Layers": "tuple[float, ...]",
    "Cells": "tuple[tuple[float, ...], ...]",
}
"""Types of values.py that are no words of the file, as their own."""


def made(page: str) -> str:
    """The page with the fields as they should be.

    Raises:
        ValueError: for a page without the marks.
    """
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{fields_text()}\n{END}{after}"


def fields_text() -> str:
    """A section a type, in the order in which they are met from Trace on, and the words that fields may have."""
    left: list[str] = ["Trace"]
    sections: dict[str, str] = {}
    while left:
        name = left.pop(0)
        if name not in sections:
            sections[name], named = _section(getattr(schema, name))
            left = [*named, *left]
    fields = "\n".join(sections.values())
    return f"{fields}\n{_words(set(re.findall(r'[A-Z][A-Za-z]+', fields)))}"


def _section(kind: type[schema.Value]) -> tuple[str, list[str]]:
    """The section of a type, and the types that its fields name."""
    declared: dict[str, tuple[str, str]] = {}
    for one in reversed(kind.__mro__):
        if issubclass(one, schema.Value) and one is not schema.Value:
            declared |= _declared(one)
    lines = [f"## {kind.__name__}", ""]
    if kind.__doc__:
        lines += [_marked(inspect.cleandoc(kind.__doc__)), ""]
    lines += ["| field | type | meaning |", "|---|---|---|"]
    named: list[str] = []
    for field in kind.model_fields:
        type_, meaning = declared[field]
        lines.append(f"| `{field}` | `{type_.replace('|', chr(92) + '|')}` | {meaning} |")
        named += [word for word in re.findall(r"[A-Za-z]\w*", type_) if _is_value(word)]
    return "\n".join([*lines, ""]), named


def _is_value(name: str) -> bool:
    kind = getattr(schema, name, None)
    return isinstance(kind, type) and issubclass(kind, schema.Value)


def _declared(kind: type[Any]) -> dict[str, tuple[str, str]]:
    """Field -> (its type, the sentences below it), as the source of a class has them."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        one.target.id: (ast.unparse(_Simple().visit(one.annotation)), said)
        for one, said in _with_sentences(body.body)
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    }


def _with_sentences(statements: list[ast.stmt]) -> list[tuple[ast.stmt, str]]:
    """Every statement, and the text below it if there is one."""
    found = []
    for one, below in zip(statements, [*statements[1:], None], strict=True):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        found.append((one, _marked(" ".join(str(below.value.value).split())) if is_text else ""))
    return found


class _Simple(ast.NodeTransformer):
    """A type without the limits that the file's reader checks: those stand in docs/limits.md."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated" and isinstance(node.slice, ast.Tuple):
            return node.slice.elts[0]
        if isinstance(node.value, ast.Name) and node.value.id == "Many":
            return ast.parse(f"tuple[{ast.unparse(node.slice)}, ...]", mode="eval").body
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.parse(PLAIN[node.id], mode="eval").body if node.id in PLAIN else node


def _words(named: set[str]) -> str:
    """What the fields may say whose types are among these names."""
    said = {
        one.targets[0].id: meaning
        for one, meaning in _with_sentences(ast.parse(inspect.getsource(values)).body)
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
    }
    lines = ["## Words", "", "| name | one of | meaning |", "|---|---|---|"]
    for name, kind in vars(values).items():
        if get_origin(kind) is Literal and name in named:
            lines.append(f"| `{name}` | {', '.join(f'`{word}`' for word in get_args(kind))} | {said[name]} |")
    return "\n".join([*lines, ""])


def _marked(text: str) -> str:
    """A docstring's text as Markdown."""
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text.replace("``", "`")).replace("|", "\\|")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    page = PAGE.read_text(encoding="utf-8")
    is_old = made(page) != page
    if is_old:
        if write:
            PAGE.write_text(made(page), encoding="utf-8")
        print(f"{PAGE.name} {'is made' if write else 'is old; add --write'}")
    return int(is_old and not write)


if __name__ == "__main__":
    sys.exit(main())
