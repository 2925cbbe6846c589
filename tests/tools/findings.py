"""``python -m tests.tools.findings`` prints the tables of docs/findings.md, from the comparisons of specviz's own.

With ``--write`` it puts them in the place of those that stand there. The sentences around them are a person's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from specviz.app.compare.store import SHIPPED
from specviz.compare.summary import load
from tests.paths import DOCS

PAGE = DOCS / "findings.md"
TREES = {
    "4,2,2": "`4,2,2`, 28 nodes",
    "heterogeneous": "heterogeneous, 28 nodes",
    "dynamic:total=28,top_k=6,depth=6": "dynamic, 28 nodes",
    "1,1,1,1": "chain of 4",
}
VERIFIERS = ("rejection", "eta", "longest_path", "traversal", "naive")
TEMPERATURES = (0.7, 1.0)
CLEAR = 0.05
Row = Mapping[str, Any]


def tables() -> list[list[str]]:
    """The lines of each table, in the order in which they stand on the page."""
    paired, free = load(SHIPPED / "paired"), load(SHIPPED / "free")
    made = [_tokens(paired), _more_than_rejection(paired), _divergence(paired), _quality(free)]
    return [*made, _sweep(load(SHIPPED / "sweep"))]


def _one(rows: Iterable[Row], **values: Any) -> Row:
    found = [row for row in rows if all(row[name] == value for name, value in values.items())]
    assert len(found) == 1, (values, len(found))
    return found[0]


def _value(summary: Row, measure: str, **values: Any) -> Row:
    return _one(summary["estimates"], measure=measure, kind=None, **values)


def _tokens(paired: Row) -> list[str]:
    lines = [f"| tree | T | {' | '.join(VERIFIERS)} |", "|---" * (2 + len(VERIFIERS)) + "|"]
    for tree, name in TREES.items():
        for heat in TEMPERATURES:
            found = [
                _value(paired, "block_efficiency", tree=tree, temperature=heat, verifier=verifier)["value"]
                for verifier in VERIFIERS
            ]
            lines.append(f"| {name} | {heat:g} | {' | '.join(f'{value:.2f}' for value in found)} |")
    return lines


def _more_than_rejection(paired: Row) -> list[str]:
    others = VERIFIERS[1:]
    lines = [f"| tree | T | {' | '.join(others)} |", "|---" * (2 + len(others)) + "|"]
    for tree, name in TREES.items():
        for heat in TEMPERATURES:
            where = {"measure": "accepted_length", "tree": tree, "temperature": heat}
            cells = [difference(paired["differences"], other, "rejection", **where) for other in others]
            lines.append(f"| {name} | {heat:g} | {' | '.join(cells)} |")
    return lines


def _divergence(paired: Row) -> list[str]:
    """Of a step's first token, from the target: the smaller one of the two bounds, and the surprise."""
    lines = ["| tree | T | eta, TV | eta, surprise | longest_path, TV | longest_path, surprise |", "|---" * 6 + "|"]
    for tree, name in TREES.items():
        for heat in TEMPERATURES:
            cells = []
            for verifier in ("eta", "longest_path"):
                where = {"tree": tree, "temperature": heat, "verifier": verifier}
                found = [_value(paired, measure, **where) for measure in ("first_tv", "first_tv_bound")]
                smaller = min(found, key=lambda row: row["value"])
                exact = "" if tree.startswith("dynamic") else "at most "
                cells.append(f"{exact}{smaller['value']:.2f} [{smaller['low']:.2f}, {smaller['high']:.2f}]")
                excess = _value(paired, "first_excess", **where)
                low, high = _signed(excess["low"]), _signed(excess["high"])
                cells.append(f"{_signed(excess['value'])} [{low}, {high}]")
            lines.append(f"| {name} | {heat:g} | {' | '.join(cells)} |")
    return lines


def difference(rows: Iterable[Row], one: str, other: str, **values: Any) -> str:
    """``one`` less ``other``, with its interval; a row may hold them the other way round."""
    for row in rows:
        if {row["a"], row["b"]} == {one, other} and all(row[name] == value for name, value in values.items()):
            value, low, high = row["value"], row["low"], row["high"]
            if row["a"] == other:
                value, low, high = -value, -high, -low
            clear = "" if row["holm"] is not None and row["holm"] < CLEAR else " (not clear)"
            return f"{_signed(value)} [{_signed(low)}, {_signed(high)}]{clear}"
    raise LookupError((one, other, values))


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # no minus before a zero


def _quality(free: Row) -> list[str]:
    lines = [
        "| T | verifier | tokens a forward | NLL | less that of sampling | distinct-1 | distinct-2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for heat in TEMPERATURES:
        for verifier in ("sampling", *VERIFIERS):
            drawn = verifier == "sampling"
            where = {"temperature": heat, "verifier": verifier, "tree": "no draft" if drawn else "4,2,2"}
            nll = _value(free, "nll_sampled_per_token", **where)
            apart = "" if drawn else _from_sampling(free, verifier, heat)
            tokens = "1" if drawn else f"{_value(free, 'block_efficiency', **where)['value']:.2f}"
            distinct = [f"{_value(free, name, **where)['value']:.2f}" for name in ("distinct_1", "distinct_2")]
            spread = f"{nll['value']:.2f} [{nll['low']:.2f}, {nll['high']:.2f}]"
            name = "ordinary sampling" if drawn else verifier
            lines.append(f"| {heat:g} | {name} | {tokens} | {spread} | {apart} | {' | '.join(distinct)} |")
    return [line.replace("|  |", "| |") for line in lines]


def _from_sampling(free: Row, verifier: str, heat: float) -> str:
    return difference(free["differences"], verifier, "sampling", measure="nll_sampled_per_token", temperature=heat)


def _sweep(sweep: Row) -> list[str]:
    """The options of eta: tokens a forward where it decodes for itself, and what that costs."""
    lines = [
        "| epsilon | delta | accepted a step | tokens a forward | NLL | less that of sampling | TV at most |",
        "|---|---|---|---|---|---|---|",
    ]
    for verifier in sweep["verifiers"]:
        label, numbers = verifier["label"], verifier["options"]
        where = {"mode": "free", "temperature": 1.0, "verifier": label, "tree": "4,2,2"}
        accepted, gained = (_value(sweep, name, **where) for name in ("accepted_length", "block_efficiency"))
        nll, bound = (_value(sweep, name, **where) for name in ("nll_sampled_per_token", "first_tv_bound"))
        eta = verifier["rule"] == "eta"
        cells = [
            f"{numbers['epsilon']:g}" if eta else label,
            f"{numbers['delta']:g}" if eta else "",
            f"{accepted['value']:.2f} [{accepted['low']:.2f}, {accepted['high']:.2f}]",
            f"{gained['value']:.2f}",
            f"{nll['value']:.2f}",
            _from_sampling(sweep, label, 1.0),
            f"{bound['value']:.2f} [{bound['low']:.2f}, {bound['high']:.2f}]",
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return lines


def written(page: str) -> list[list[str]]:
    """The tables that stand on a page."""
    found: list[list[str]] = [[]]
    for line in page.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put them into docs/findings.md")
    options = parser.parse_args()
    made = tables()
    if not options.write:
        print("\n\n".join("\n".join(table) for table in made))
        return
    page = PAGE.read_text(encoding="utf-8")
    for old, new in zip(written(page), made, strict=True):
        page = page.replace("\n".join(old), "\n".join(new), 1)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
