"""What ``tests.tools.mutations`` mutates and then does with it. All of it follows from (seed, kind, number)."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from specviz.app.server.trace_store import StoredTrace
from specviz.errors import ModelError, SpecvizError
from specviz.trace.io import dump_trace, load_trace, parse_trace
from specviz.trace.schema import Trace
from tests.foreign import foreign
from tests.paths import ASSETS
from tests.saved_pages import block_in
from tests.tools import mutated_settings
from tests.tools.mutated_fields import FIELDS, FILES
from tests.tools.mutated_traces import CONSISTENT

PAGE_BYTES = 64 << 20
LONGEST_SENTENCE = 600
BUG = "Something is wrong in specviz"
"""What the page says of an exception that nobody expected."""


@dataclass(frozen=True)
class Case:
    """One mutation. ``given`` is bytes for a trace, and a function to call for settings."""

    what: str
    given: Any


class Runner:
    """Makes and runs cases of one kind.

    Args:
        home: the only folder that may be written to.
    """

    def __init__(self, kind: str, seed: int, home: Path):
        self.kind, self.seed, self.home = kind, seed, home
        from specviz.app.handlers import Actions
        from specviz.app.proofs import Proofs
        from specviz.app.server.session_registry import Sessions
        from specviz.app.server.share_store import ShareStore

        self.bases = Bases()
        self.log = _Log()
        logging.getLogger().addHandler(self.log)
        logging.getLogger().setLevel(logging.ERROR)
        self.actions = Actions(Sessions(no_models), ShareStore(home / "held"), Proofs())
        self.settings = mutated_settings.Maker(self.actions, self.bases.small(), home) if kind == "settings" else None
        self.recordings: list[list[Any]] = []
        if kind == "recordings":
            from tests.tools import mutated_recordings

            self.recordings = mutated_recordings.bases()
        self._warm_up()

    def make(self, number: int) -> Case:
        luck = random.Random(f"{self.seed} {self.kind} {number}")
        if self.settings is not None:
            return Case(*self.settings.make(luck))
        if self.recordings:
            from tests.tools import mutated_recordings

            return Case(*mutated_recordings.mutated(luck, self.recordings))
        return Case(*mutated_trace(luck, self.bases))

    def run(self, case: Case) -> tuple[str, str]:
        """``accepted``, ``refused`` or ``finding``, and what was said."""
        self.log.said.clear()
        try:
            said = case.given() if callable(case.given) else self._open(case.given, random.Random(case.what))
        except SpecvizError as error:
            said = _checked(str(error))
            outcome = "refused"
        except Exception as error:
            return "finding", _trace_of(error)
        else:
            outcome = "accepted" if said is None else "refused"
        if said is not None and said.startswith("!"):
            return "finding", said
        if self.log.said:
            return "finding", f"logged: {self.log.said[0]}"
        return outcome, said or ""

    def _warm_up(self) -> None:
        """Import and read once what every case needs, so that no case is billed for it."""
        self._open(dump_trace(self.bases.small()), random.Random(0))
        for trace in (self.bases.small(), self.bases.other):
            self.actions.open_run(None, lambda trace=trace: _run_of(trace))
        with mutated_settings.no_network(), contextlib.suppress(SpecvizError):
            if self.settings is not None:
                luck = random.Random(0)
                for make in self.settings.makers:
                    for _ in range(1):
                        with contextlib.suppress(Exception):
                            make(luck)[1]()

    # ---------------------------------------------------------------------------------------------- one trace

    def _open(self, data: bytes, luck: random.Random) -> str | None:
        """A file as a visitor sends it, and all that a visitor can do with it."""
        path = self.home / "upload.json"
        path.write_bytes(data)
        trace = load_trace(path, max_bytes=PAGE_BYTES)
        return self._use(trace, luck)

    def _use(self, trace: Trace, luck: random.Random) -> str | None:
        from specviz.app import run_handlers
        from specviz.app.diff_handlers import compare_runs
        from specviz.app.page_state import PageState, describe
        from specviz.figures import dump_block, standalone_page
        from specviz.figures.diff import format_comparison
        from specviz.trace.breakpoints import Breakpoints
        from specviz.trace.diff import compare
        from specviz.trace.metrics import overhead
        from specviz.trace.summary import summary

        if parse_trace(dump_trace(trace)) != trace:
            return "! it is not the same trace when it is read again"
        rarely = luck.random() < 0.05
        there = PageState().show(_run_of(trace))
        answers: list[Any] = [describe(there.run), there.lines()[0][0]]
        with contextlib.nullcontext() if rarely else patch("specviz.figures.export.script_of", lambda entry: ""):
            page = standalone_page(trace)
        block_in(page)
        page.encode("utf-8")
        other = self.bases.other
        for a, b in luck.sample([(trace, other), (other, trace), (trace, trace)], 3 if rarely else 1):
            format_comparison(compare(a, b, ("A", "B")))
            answers.append(dump_block({"compare": compare_runs(a, b, ("A", "B"))}))
        summary(trace)
        list(map(overhead, trace.steps))
        for one in (Breakpoints(text="zzzz"), Breakpoints(audit=True), Breakpoints(True, True, 5, "e", 3.0, 0.1, True)):
            answers.append(run_handlers.next_hit(trace, 0, one))
        answers += mutated_settings.asked(trace)
        for answer in answers:
            if isinstance(answer, str) and BUG in answer:
                return f"! {answer[:300]}"
        if rarely:
            self.actions.open_run(None, lambda: _run_of(trace))
            run_handlers.wanted_block(trace, trace.id, range(8))
            name = self.actions.share_store.save(trace)
            if self.actions.share_store.load(name) != trace:
                return "! a link opens another trace"
        return None


def _run_of(trace: Trace) -> Any:
    from specviz.app.page_state import Run, models_of
    from specviz.app.run_handlers import file_title

    return Run(StoredTrace(trace), file_title("/x/<b>\u202e.json.gz"), models_of(trace))


def no_models(**choice: Any) -> Any:
    """Stands for the loader: everything that is checked before something is fetched, and then no model."""
    raise ModelError("There are no models here; this is a test.")


def _checked(said: str) -> str:
    """The sentence, marked where it is none."""
    if not said or len(said) > LONGEST_SENTENCE or "\n" in said or "Traceback" in said:
        return f"! no sentence ({len(said)} characters): {said[:300]!r}"
    return said


def _trace_of(error: BaseException) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "specviz" in frame.filename.split("/")[-3:] or "/specviz/" in frame.filename]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed((own or list(frames))[-4:]))
    return f"{type(error).__name__} at {where}: {str(error)[:200]!r}"


class _Log(logging.Handler):
    """Errors that were logged: a handler that catches everything must not hide what it caught."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.said.append(_trace_of(error) if error else record.getMessage()[:300])


# ------------------------------------------------------------------------------------------------------- traces


class Bases:
    """Real traces, as JSON values: whole, and cut to their first steps (most are: a case is then fast); and the same as
    if other engines had recorded them, which said more or less."""

    def __init__(self) -> None:
        self.whole: list[Any] = []
        self.cut: list[Any] = []
        self.foreign: list[Any] = []
        for path in sorted(ASSETS.glob("*/*.json.gz")):
            whole = json.loads(gzip.decompress(path.read_bytes()))
            self.whole.append(whole)
            small = len(whole["steps"][0]["tree"]["nodes"]) <= 10
            for steps in (1, 2):
                cut = whole | {"steps": whole["steps"][:steps], "end_reason": None}
                self.cut += [cut] * (8 if small and steps == 1 else 1)
        whole = load_trace(ASSETS / "traces" / "chain-of-4.json.gz")
        self.other = whole.model_copy(update={"steps": whole.steps[:3]})
        for path in ("chain-of-4", "default-4-2-2"):
            own = load_trace(ASSETS / "traces" / f"{path}.json.gz")
            own = own.model_copy(update={"steps": own.steps[:2], "end_reason": None})
            for level in (1, 2, 3, 4):
                self.foreign.append(json.loads(dump_trace(foreign(own, level, texts=level % 2 == 0))))

    def small(self) -> Trace:
        whole = self.whole[1]
        return parse_trace(json.dumps(whole | {"steps": whole["steps"][:1], "end_reason": None}).encode())


def mutated_trace(luck: random.Random, bases: Bases) -> tuple[str, bytes]:
    """A few words, and the file."""
    base = luck.choice(bases.whole) if luck.random() < 0.02 else luck.choice(bases.cut)
    if luck.random() < 0.4:
        base = luck.choice(bases.foreign)
    roll = luck.random()
    if roll < 0.12:
        name, change = luck.choice(FILES)
        return name, change(luck, json.dumps(base, ensure_ascii=luck.random() < 0.5).encode("utf-8", "replace"))
    done = []
    for _ in range(luck.choice([1, 1, 1, 2, 3])):
        name, consistent = luck.choice(CONSISTENT if roll < 0.6 else FIELDS)
        with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError, ValueError):  # broken before
            base = consistent(luck, base)
            done.append(name)
    try:
        data = json.dumps(base).encode()
    except ValueError:  # a number with more digits than Python writes
        data = b"{}"
    if luck.random() < 0.05:
        data = gzip.compress(data, compresslevel=1)
    return " + ".join(done), data
