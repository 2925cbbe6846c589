"""What ``check`` says of every registered verifier and of the options in use, computed once in the background.

Enumeration takes a few seconds a verifier, so nobody waits for it: a thread works, pages look at what there is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from specviz.display import as_markdown
from specviz.errors import SettingsError, SpecvizError
from specviz.options import Options
from specviz.trace.schema import Choice, Trace, options_key
from specviz.verifiers import ALL_PROPOSALS, VERIFIERS, label_of, resolve_verifier

HEADERS = (
    "Verifier",
    "Rule",
    *(proposal.replace("_", " ") for proposal in ALL_PROPOSALS),
    "Smallest tree that shows it",
)
PENDING = "…"
MOST_KEPT = 64
"""Sets of options other than the defaults whose findings are kept."""
MOST_WAITING = 4
"""Sets of options that wait to be checked; what is asked beyond is not checked until it is asked again."""

Job = tuple[str, str]
"""A verifier's name and the key of its options."""


class Proofs:
    """Findings by verifier and options: of all registered verifiers with their defaults, and of what is in use."""

    def __init__(self) -> None:
        self._found: dict[Job, dict[str, Any]] = {}
        self._failed: dict[Job, str] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted: list[tuple[Job, Choice]] = []

    def start(self, used: Iterable[Choice] = ()) -> None:
        """Check every registered verifier with its defaults, and these, in the background, unless that was done."""
        with self._changed:
            for choice in map(_defaults, VERIFIERS):
                self._want(choice)
            for choice in used:
                if len(self._wanted) < MOST_WAITING:
                    self._want(choice)
            if self._wanted and self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def rows(self, used: Iterable[Choice] = ()) -> Iterator[list[list[str]]]:
        """The table, again and again until nothing is missing."""
        used = list(used)
        self.start(used)
        while True:
            with self._changed:
                table = self.table_now(used)
                done = self._thread is None
            yield table
            if done:
                return
            with self._changed:
                self._changed.wait(timeout=5)

    def table_now(self, used: Iterable[Choice] = ()) -> list[list[str]]:
        """What is known now: every verifier with its defaults, and below it with these options."""
        asked = {_job(choice): choice for choice in (*map(_defaults, VERIFIERS), *used)}
        # A verifier's lines together, in the order of the registry.
        places = {name: place for place, name in enumerate(VERIFIERS)}
        return [self._row(choice) for choice in sorted(asked.values(), key=lambda choice: places[choice.name])]

    def table(self, rows: list[list[str]]) -> str:
        """The rows as Markdown; what could be markup in a cell is spelt out."""
        lines = [list(HEADERS), ["---"] * len(HEADERS), *([as_markdown(cell) for cell in row] for row in rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def badge(self, choice: Choice) -> str:
        """A few words beside the name, and with which options that is so; "" while nothing is known."""
        verifier = VERIFIERS[choice.name]
        said = self._badge(_job(choice))
        if not said or not verifier.Options.model_fields:
            return said
        others = _label(choice).partition(":")[2]
        return f"{said}, with {others or 'its defaults'}"

    def texts(self) -> dict[str, dict[str, dict[str, str]]]:
        """verifier -> key of the options -> proposal -> what was found, for the tables of the viewer."""
        said: dict[str, dict[str, dict[str, str]]] = {}
        with self._changed:
            for (name, key), found in self._found.items():
                said.setdefault(name, {})[key] = {proposal: _cell(one) for proposal, one in found.items()}
        return said

    def _row(self, choice: Choice) -> list[str]:
        """One line of the table."""
        job = _job(choice)
        said, rule = _label(choice), VERIFIERS[choice.name].rule
        found = self._found.get(job, {})
        if job in self._failed:
            return [said, rule, *["failed"] * len(ALL_PROPOSALS), self._failed[job]]
        cells = [_cell(found[proposal]) if proposal in found else PENDING for proposal in ALL_PROPOSALS]
        return [said, rule, *cells, _smallest(found.values()) if len(found) == len(ALL_PROPOSALS) else PENDING]

    def _badge(self, job: Job) -> str:
        if job in self._failed:
            return "check failed"
        found = list(self._found.get(job, {}).values())
        if len(found) < len(ALL_PROPOSALS):
            return ""
        broken = [one for one in found if not one.ok]
        if broken:
            return f"✕ {broken[0].verdict}, TV {max(one.worst.distance for one in broken):.2g}"
        lossy = [one.worst.distance for one in found if one.promise == "no"]
        if not lossy:
            return "✓ " + ("greedy decoding" if found[0].promise == "greedy decoding" else "lossless")
        return f"lossy, TV up to {max(lossy):.2g}"

    def _want(self, choice: Choice) -> None:
        job = _job(choice)
        if job not in {*self._found, *self._failed, *(waiting for waiting, _ in self._wanted)}:
            self._wanted.append((job, choice))

    def _make_room(self) -> None:
        """Of other options than the defaults, those that were asked for first are forgotten."""
        for kept in (self._found, self._failed):
            others = [job for job in kept if job != _job(_defaults(job[0]))]
            for job in others[:-MOST_KEPT]:
                del kept[job]

    def _work(self) -> None:
        from specviz.verifiers.check import check_one

        while True:
            with self._changed:
                if not self._wanted:
                    self._thread = None
                    self._changed.notify_all()
                    return
                job, choice = self._wanted[0]
            for proposal in ALL_PROPOSALS:
                try:
                    finding = check_one(*resolve_verifier(choice), proposal)
                except Exception as error:  # a verifier of a user's own may fail in any way
                    said = str(error) if isinstance(error, SpecvizError) else f"{type(error).__name__}: {error}"
                    self._failed[job] = " ".join(said.split())[:300]
                    break
                with self._changed:
                    self._found.setdefault(job, {})[proposal] = finding
                    self._changed.notify_all()
            with self._changed:
                self._wanted.pop(0)
                self._make_room()
                self._changed.notify_all()


def in_use(form: Iterable[Choice], trace: Trace | None) -> list[Choice]:
    """Verifiers with their options in the form, then in the run in sight: those that are registered and fit."""
    settings = [] if trace is None else [trace.settings, *(step.settings for step in trace.steps)]
    choices = chain(form, (choice for one in settings if one for choice in one.verifiers))
    registered = (choice for choice in choices if choice.name in VERIFIERS)
    # A file may hold as many options as it has steps.
    different = {(choice.name, options_key(choice.options)): choice for choice in islice(registered, 10 * MOST_KEPT)}
    return [choice for choice in list(different.values())[:MOST_KEPT] if _parsed(choice) is not None]


def _defaults(name: str) -> Choice:
    return Choice(name=name)


def _parsed(choice: Choice) -> Options | None:
    try:
        options: Options = resolve_verifier(choice)[1]
        return options
    except SettingsError:
        return None


def _job(choice: Choice) -> Job:
    options = _parsed(choice)
    return choice.name, options_key(choice.options if options is None else dict(options))


def _label(choice: Choice) -> str:
    options = _parsed(choice)
    return choice.name if options is None else label_of(VERIFIERS[choice.name], options)


def _cell(finding: Any) -> str:
    distance = f"TV {finding.worst.distance:.2g}"
    if finding.promise == "no":
        return f"lossy, {distance}" if finding.ok else f"✕ called lossy, but {distance}"
    promised = "greedy decoding" if finding.promise == "greedy decoding" else "lossless"
    return f"✓ {promised} ({distance})" if finding.ok else f"✕ not {promised} as promised: {distance}"


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
