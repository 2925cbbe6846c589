"""What ``check`` says of every registered verifier, computed once a process and told as it comes.

Enumeration takes a few seconds a verifier, so nobody waits for it: a thread works, pages look at what there is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from specviz.errors import SpecvizError
from specviz.verifiers import ALL_PROPOSALS, VERIFIERS

HEADERS = (
    "Verifier",
    "Rule",
    *(proposal.replace("_", " ") for proposal in ALL_PROPOSALS),
    "Smallest tree that shows it",
)
PENDING = "…"


class Proofs:
    """Findings by verifier, in the order of the registry."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, str] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted: list[str] = []

    def start(self, names: Iterable[str] | None = None) -> None:
        """Check these verifiers (all of them by default) in the background, unless that was done."""
        with self._changed:
            known = {*self._found, *self._failed, *self._wanted}
            self._wanted += [name for name in (VERIFIERS if names is None else names) if name not in known]
            if self._wanted and self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def rows(self) -> Iterator[list[list[str]]]:
        """The table, again and again until nothing is missing."""
        self.start()
        while True:
            with self._changed:
                table = [self.row(name) for name in VERIFIERS]
                done = self._thread is None
            yield table
            if done:
                return
            with self._changed:
                self._changed.wait(timeout=5)

    def row(self, name: str) -> list[str]:
        """One line of the table."""
        verifier = VERIFIERS[name]
        found = self._found.get(name, {})
        if name in self._failed:
            return [name, verifier.rule, *["failed"] * len(ALL_PROPOSALS), self._failed[name]]
        cells = [_cell(found[proposal]) if proposal in found else PENDING for proposal in ALL_PROPOSALS]
        return [name, verifier.rule, *cells, _smallest(found.values()) if len(found) == len(ALL_PROPOSALS) else PENDING]

    def table(self, rows: list[list[str]]) -> str:
        """The rows as Markdown; what could be markup in a cell is spelt out."""
        lines = [list(HEADERS), ["---"] * len(HEADERS), *([_plain(cell) for cell in row] for row in rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def badge(self, name: str) -> str:
        """A few words beside the name; "" while nothing is known."""
        if name in self._failed:
            return "check failed"
        found = list(self._found.get(name, {}).values())
        if len(found) < len(ALL_PROPOSALS):
            return ""
        broken = [one for one in found if not one.ok]
        if broken:
            return f"✕ {broken[0].verdict}, TV {max(one.worst.distance for one in broken):.2g}"
        lossy = [one.worst.distance for one in found if one.promise == "no"]
        if not lossy:
            return "✓ " + ("greedy decoding" if found[0].promise == "greedy decoding" else "lossless")
        return f"lossy, TV up to {max(lossy):.2g}"

    def texts(self) -> dict[str, dict[str, str]]:
        """verifier -> proposal -> what was found, for the tables of the viewer."""
        with self._changed:
            return {name: {p: _cell(one) for p, one in found.items()} for name, found in self._found.items()}

    def _work(self) -> None:
        from specviz.verifiers.check import check_one

        while True:
            with self._changed:
                if not self._wanted:
                    self._thread = None
                    self._changed.notify_all()
                    return
                name = self._wanted[0]
            verifier = VERIFIERS[name]
            for proposal in ALL_PROPOSALS:
                try:
                    finding = check_one(verifier, verifier.Options(), proposal)
                except Exception as error:  # a verifier of a user's own may fail in any way
                    said = str(error) if isinstance(error, SpecvizError) else f"{type(error).__name__}: {error}"
                    self._failed[name] = " ".join(said.split())[:300]
                    break
                with self._changed:
                    self._found.setdefault(name, {})[proposal] = finding
                    self._changed.notify_all()
            with self._changed:
                self._wanted.remove(name)
                self._changed.notify_all()


def _cell(finding: Any) -> str:
    distance = f"TV {finding.worst.distance:.2g}"
    if finding.promise == "no":
        return f"lossy, {distance}" if finding.ok else f"✕ called lossy, but {distance}"
    promised = "greedy decoding" if finding.promise == "greedy decoding" else "lossless"
    return f"✓ {promised} ({distance})" if finding.ok else f"✕ not {promised} as promised: {distance}"


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|$#~" else c for c in text.replace("\n", " "))


def _smallest(findings: Iterable[Any]) -> str:
    shown = [one for one in findings if one.smallest is not None]
    if not shown:
        return "none"
    one = min(shown, key=lambda found: found.smallest.nodes)
    it = one.smallest
    what = "greedy decoding" if one.promise == "greedy decoding" else "the target"
    return (
        f"{it.tree}, {one.proposal.replace('_', ' ')}, {it.pair}: TV {it.distance:.2g}; tokens {list(it.sequence)} "
        f"come out with probability {it.probability:.4f}, {what} gives {it.reference:.4f}"
    )
