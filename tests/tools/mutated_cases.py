"""What ``tests.tools.mutations`` mutates and then does with it. All of it follows from (seed, kind, number)."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

from specviz.app.server.trace_store import StoredTrace
from specviz.errors import ModelError, SpecvizError
from specviz.trace import schema
from specviz.trace.io import dump_trace, load_trace, parse_trace
from specviz.trace.schema import Trace
from tests.foreign import foreign
from tests.paths import ASSETS
from tests.saved_pages import block_in
from tests.tools import mutated_settings
from tests.tools.mutated_values import HOSTILE_TEXTS, NUMBERS, hostile, put, value_at

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


def _a_step(luck: random.Random, base: Any) -> int:
    return luck.randrange(len(base["steps"])) if base["steps"] else 0


def _path(luck: random.Random, base: Any) -> tuple[Any, ...]:
    """A random place of the trace, anywhere in its depth."""
    here, path = base, []
    while True:
        if isinstance(here, dict) and here:
            step: Any = luck.choice(list(here))
        elif isinstance(here, list) and here:
            step = luck.randrange(len(here))
        else:
            return tuple(path)
        path.append(step)
        here = here[step]
        if luck.random() < 0.12 and len(path) > 1:
            return tuple(path)


def _retyped(luck: random.Random, base: Any) -> Any:
    path = _path(luck, base)
    return put(base, path, hostile(luck)) if path else base


def _extreme(luck: random.Random, base: Any) -> Any:
    """Another value of the same type, at the edge."""
    path = _path(luck, base)
    now = value_at(base, path)
    new: Any = None
    if isinstance(now, bool):
        new = not now
    elif isinstance(now, int):
        new = luck.choice([0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**64, 10**18, 10**300, 10**4290, now + 1, now - 1])
    elif isinstance(now, float):
        new = luck.choice([*NUMBERS, now * 1.00001, -now])
    elif isinstance(now, str):
        new = luck.choice(HOSTILE_TEXTS)
    elif isinstance(now, list):
        new = luck.choice([[], now * 2, now[::-1], now[:1], now[1:], [now], now * 40 if len(now) < 200 else now])
    elif isinstance(now, dict):
        keys = list(now)
        luck.shuffle(keys)
        new = luck.choice(
            [
                {},
                {key: now[key] for key in keys},
                {key: now[key] for key in keys[1:]},
                now | {"more": 1},
                now | {"": now},
            ]
        )
    return put(base, path, new)


def _dropped(luck: random.Random, base: Any) -> Any:
    path = _path(luck, base)
    holder = value_at(base, path[:-1])
    if isinstance(holder, dict):
        return put(base, path[:-1], {key: value for key, value in holder.items() if key != path[-1]})
    return put(base, path[:-1], holder[: path[-1]] + holder[path[-1] + 1 :])


def _doubled(luck: random.Random, base: Any) -> Any:
    path = _path(luck, base)
    holder = value_at(base, path[:-1])
    if isinstance(holder, list):
        return put(
            base, path[:-1], holder[: path[-1]] + [holder[path[-1]]] * luck.choice([2, 3, 50]) + holder[path[-1] :]
        )
    return put(base, path, [holder[path[-1]]])


def _swapped(luck: random.Random, base: Any) -> Any:
    one, two = _path(luck, base), _path(luck, base)
    a, b = value_at(base, one), value_at(base, two)
    with contextlib.suppress(KeyError, IndexError, TypeError):
        return put(put(base, one, b), two, a)
    return base


def _nulled(luck: random.Random, base: Any) -> Any:
    """Some values that another engine need not record are not recorded."""
    for _ in range(luck.choice([5, 20, 100])):
        path = _path(luck, base)
        if path and path[-1] in _OPTIONAL:
            base = put(base, path, None)
    return base


_OPTIONAL = {
    name
    for kind in vars(schema).values()
    if isinstance(kind, type) and issubclass(kind, schema.Value)
    for name, field in kind.model_fields.items()
    if type(None) in get_args(field.annotation)
}
"""Names of fields that may be null."""


def _nested(luck: random.Random, base: Any) -> Any:
    value: Any = luck.choice([0, "x", None])
    for _ in range(luck.choice([20, 150, 190, 210, 500])):
        value = luck.choice([[value], {"a": value}])
    return put(base, _path(luck, base), value)


def _tree_ids(luck: random.Random, base: Any) -> Any:
    """Ids, parents, depths and ranks that break the tree, or just move in it."""
    if not base["steps"]:
        return base
    where = ("steps", _a_step(luck, base), "tree", "nodes")
    nodes = value_at(base, where)
    field = luck.choice(["id", "parent", "depth", "rank"])
    at = luck.randrange(len(nodes))
    if luck.random() < 0.5:
        other = luck.randrange(len(nodes))
        return put(base, where, [*nodes[:at], nodes[other], *nodes[at + 1 :]])
    return put(base, (*where, at, field), luck.choice([0, -1, at, at + 1, len(nodes), 2**40, nodes[at][field] + 1]))


FIELDS: list[tuple[str, Callable[[random.Random, Any], Any]]] = [
    ("retyped", _retyped),
    ("extreme", _extreme),
    ("extreme", _extreme),
    ("dropped", _dropped),
    ("doubled", _doubled),
    ("swapped", _swapped),
    ("nested", _nested),
    ("tree ids", _tree_ids),
]


# Changes after which a trace is still one, so that it comes further than the parser.


def _every(base: Any, key: str, change: Callable[[Any], Any]) -> Any:
    """Every value under ``key``, at any depth."""
    if isinstance(base, dict):
        return {k: change(v) if k == key else _every(v, key, change) for k, v in base.items()}
    if isinstance(base, list):
        return [_every(one, key, change) for one in base] if base and isinstance(base[0], (dict, list)) else base
    return base


def _number_fields(luck: random.Random, base: Any) -> Any:
    key = luck.choice(
        ["threshold", "p", "q", "entropy", "mass", "draft", "target", "build", "verify", "record", "logits"]
    )
    number = luck.choice([one for one in NUMBERS if one == one and abs(one) != float("inf")])
    chance = luck.choice([0.1, 1.0])
    return _every(base, key, lambda old: number if isinstance(old, float) and luck.random() < chance else old)


def _probabilities(luck: random.Random, base: Any) -> Any:
    number = luck.choice([0.0, 1.0, 5e-324, 1e-308, 1e-5, 1.000009])
    chance = luck.choice([0.3, 1.0])
    if luck.random() < 0.5:
        return _every(base, "probs", lambda old: [number if luck.random() < chance else p for p in old])
    return _every(
        base,
        luck.choice(["draft_prob", "target_prob"]),
        lambda old: luck.choice([number, None]) if luck.random() < chance else old,
    )


def _lists(luck: random.Random, base: Any) -> Any:
    """ids and probs, of any length, as long as they agree."""
    size = luck.choice([0, 1, 2, 300, 5000])

    def change(row: Any) -> Any:
        if luck.random() < 0.7 or (size > 500 and luck.random() < 0.97):
            return row
        return {"ids": [luck.choice([0, 1, 2**53 - 1]) for _ in range(size)], "probs": [0.5] * size}

    for key in luck.sample(["raw", "processed", "distribution", "top"], 2):
        base = _every(base, key, change)
    return base


def _texts(luck: random.Random, base: Any) -> Any:
    key = luck.choice(["text", "text", "rule", "reason", "id", "note", "dtype", "device", "architecture", "prompt"])
    text = luck.choice(HOSTILE_TEXTS)
    if luck.random() < 0.1:
        text = luck.choice(HOSTILE_TEXTS) * 2000
    return _every(base, key, lambda old: text if isinstance(old, str) and luck.random() < 0.6 else old)


def _bytes(luck: random.Random, base: Any) -> Any:
    raw = luck.choice(["", "00", "ff" * 8, "f0 9f", "F09F", " c3 ", "ff" * 400, "aa" * 50_000])
    return _every(base, "bytes", lambda old: raw if luck.random() < 0.2 else old)


def _slots(luck: random.Random, base: Any) -> Any:
    """Slot numbers, positions, moves and lengths that lie."""
    key = luck.choice(
        ["slot", "position", "sees_before", "first_slot", "moves", "dropped", "sees", "prefilled", "node"]
    )
    large = luck.choice([0, 1, 7, 10**6, 2**53 - 1, 10**4290])

    def change(old: Any) -> Any:
        if luck.random() < 0.5 or old is None:
            return old
        if key == "moves":
            return [[large, luck.choice([0, large])] for _ in range(luck.choice([0, 1, 50]))]
        if isinstance(old, list):
            return [large] * luck.choice([0, 1, 500])
        return large if key != "node" else luck.choice([0, 1, old])

    return _every(base, key, change)


def _lengths(luck: random.Random, base: Any) -> Any:
    """Both ends of a cache moved by the same distance."""
    shift = luck.choice([1, 1000, 10**9, 2**53 - 200, 10**4290])

    def change(cache: Any) -> Any:
        if not isinstance(cache, dict) or "length_before" not in cache or luck.random() < 0.3:
            return cache
        return cache | {name: cache[name] + shift for name in ("length_before", "length_after")}

    return _every(base, "caches", lambda old: {name: change(cache) for name, cache in old.items()})


def _verifiers(luck: random.Random, base: Any) -> Any:
    """A verdict under another name, or under very many."""
    if not base["steps"]:
        return base
    where = ("steps", _a_step(luck, base), "verdicts")
    verdicts = value_at(base, where)
    one = verdicts[luck.choice(list(verdicts))]
    name = luck.choice(HOSTILE_TEXTS)
    count = luck.choice([1, 1, 1, 12, 250, 700])
    more = {f"{name}{i or ''}": one | {"verifier": f"{name}{i or ''}"} for i in range(count)}
    return put(base, where, verdicts | more)


def _decisions(luck: random.Random, base: Any) -> Any:
    """Decisions shuffled, repeated, about other nodes; other comparisons and outcomes."""
    if not base["steps"]:
        return base
    step = _a_step(luck, base)
    size = len(base["steps"][step]["tree"]["nodes"])
    times = luck.choice([0, 1, 2, 30])

    def change(old: Any) -> Any:
        made = old * times
        luck.shuffle(made)
        return [
            one
            | {
                "node": luck.randrange(size) if luck.random() < 0.5 else one["node"],
                "outcome": luck.choice(["accepted", "rejected", "passed, not chosen"]),
                "comparison": luck.choice(["uniform < threshold", "p > threshold", "token = drawn", "token = argmax"]),
                "uniform": luck.choice([one["uniform"], None, 1e-300, 0.9999999999999999]),
                "expected": luck.choice([None, 0, 2**53 - 1]),
                "p": luck.choice([one["p"], None, 0.0]),
                "q": luck.choice([one["q"], None, 0.0]),
            }
            for one in made[:2000]
        ]

    return put(base, ("steps", step), _every(base["steps"][step], "decisions", change))


def _bonuses(luck: random.Random, base: Any) -> Any:
    """Bonus tokens that hang elsewhere, come from elsewhere, or were drawn otherwise."""

    def change(old: Any) -> Any:
        return old | {
            "node": luck.choice([0, old["node"]]),
            "source": luck.choice(["target", "residual", "truncated", "argmax"]),
            "uniform": luck.choice([old["uniform"], None, 0.5]),
        }

    return _every(base, "bonus", change)


def _shapes(luck: random.Random, base: Any) -> Any:
    """Another tree altogether: a long chain, a star, a comb; verdicts that accept none of it, caches that saw it."""
    if not base["steps"]:
        return base
    step = base["steps"][0]
    nodes = step["tree"]["nodes"]
    pattern = nodes[-1] | {"draft": nodes[0]["draft"]}
    size = luck.choice([1, 2, 200, 1025, 1026, 3000])
    shape = luck.choice(["chain", "star", "comb"])
    made = [nodes[0]]
    ranks: dict[int, int] = {}
    for i in range(1, size):
        parent = i - 1 if shape == "chain" else 0 if shape == "star" else max(0, i - 1 - (i % 2))
        rank = ranks.get(parent, 0)
        ranks[parent] = rank + 1
        made.append(pattern | {"id": i, "parent": parent, "depth": made[parent]["depth"] + 1, "rank": rank})
    if size > 1 and made[0]["draft"] is None:
        made[0] = made[0] | {"draft": nodes[-1]["target"]}
    made = [node | {"draft": node["draft"] or node["target"]} for node in made]
    verdicts = {
        name: verdict
        | {
            "thresholds": [1.0] * size,
            "decisions": [one | {"node": min(size - 1, one["node"])} for one in verdict["decisions"]],
            "path": [],
            "bonus": verdict["bonus"] | {"node": 0},
        }
        for name, verdict in step["verdicts"].items()
    }
    appended = [
        {"slot": i, "token": 0, "position": i, "role": "node", "node": i, "sees": [i], "sees_before": 0}
        for i in range(size)
    ]
    cache = step["caches"]["target"] | {
        "appended": appended,
        "fingerprints_before": [f"{i:x}" for i in range(size)],
        "audit": None,
    }
    token = step["verdicts"][step["driver"]]["bonus"]["token"]
    new = step | {
        "tree": step["tree"] | {"nodes": made},
        "verdicts": verdicts,
        "committed": [token],
        "caches": {"target": cache, "draft": cache},
    }
    return base | {"steps": [new]}


def _many_steps(luck: random.Random, base: Any) -> Any:
    """The first step again and again, each in its place."""
    if not base["steps"]:
        return base
    first, made, context = base["steps"][0], [], len(base["prompt_tokens"])
    for i in range(luck.choice([3, 40])):
        made.append(first | {"index": i, "context": context})
        context += len(first["committed"])
    return base | {"steps": made, "end_reason": luck.choice([None, "end of sequence", "error", "context limit"])}


def _audits(luck: random.Random, base: Any) -> Any:
    number = luck.choice([0.0, -1.0, 1e-300, 1e308, 5.0])
    layers, width = luck.choice([(0, 0), (1, 0), (1, 300), (60, 30)])
    first = luck.choice([0, 3, 2**53 - 1])
    rows = [[number] * width] * layers
    audit = {"first_slot": first, "keys": rows, "values": rows, "earlier_keys": [number] * layers}
    audit |= {"earlier_values": [number] * layers, "logits": luck.choice([None, number])}
    return _every(base, "audit", lambda old: audit if not isinstance(old, (bool, float)) else old)


def _failures(luck: random.Random, base: Any) -> Any:
    """A step that failed after the others, as far as it may have got."""
    if not base["steps"]:
        return base
    tree, texts = base["steps"][-1]["tree"], base["steps"][-1]["tokens"]
    scored = luck.random() < 0.5
    nodes = [node if scored else node | {"target": None, "target_prob": None} for node in tree["nodes"]]
    nodes = nodes[: luck.choice([1, len(nodes)])]
    some = luck.choice([[], [0], [len(nodes) - 1] * 3000])
    nonfinite = {
        "model": luck.choice(["target", "draft"]),
        "found": luck.choice(["NaN", "infinity", "-infinity for every token"]),
        "nodes": some,
        "module": luck.choice([None, *HOSTILE_TEXTS]),
        "layer": luck.choice([None, 0, 2**53 - 1]),
        "first_nodes": some,
        "first_tokens": luck.choice([[], [2**53 - 1] * 3000]),
    }
    failed = {
        "index": len(base["steps"]),
        "context": len(base["prompt_tokens"]) + sum(len(step["committed"]) for step in base["steps"]),
        "builder": luck.choice(HOSTILE_TEXTS),
        "proposal": tree["proposal"],
        "nodes": nodes,
        "tokens": texts,
        "message": luck.choice(HOSTILE_TEXTS),
        "nonfinite": luck.choice([None, nonfinite]),
    }
    return base | {"failed": failed, "end_reason": luck.choice([None, "error", "stopped"])}


def _ends(luck: random.Random, base: Any) -> Any:
    """Empty runs, prompts that repeat, forks of themselves."""
    prompt = luck.choice([base["prompt_tokens"], base["prompt_tokens"][:1], base["prompt_tokens"][:1] * 30_000])
    steps = base["steps"]
    if prompt is not base["prompt_tokens"]:
        steps, context = [], len(prompt)
        for step in base["steps"]:
            steps.append(step | {"context": context})
            context += len(step["committed"])
    return base | {
        "steps": luck.choice([steps, steps, []]),
        "prompt_tokens": prompt,
        "forked_from": luck.choice([None, {"trace": base["id"], "step": 0}, {"trace": "x" * 1000, "step": 2**40}]),
        "end_message": luck.choice([None, *HOSTILE_TEXTS]),
        "end_tokens": luck.choice([[], [0] * 1000, base["end_tokens"]]),
        "created": luck.choice(["", "yesterday", base["created"]]),
    }


def _other_settings(luck: random.Random, base: Any) -> Any:
    """The settings of a run that no engine has run: builders and verifiers of other projects, odd options."""
    settings = base["settings"]
    name = luck.choice(["k_config", "dynamic", "nobody's", *HOSTILE_TEXTS[:6]])[:150] or "x"
    options = {
        luck.choice(["tree", "total", "x", "paths"]): luck.choice([None, True, 10**40, 1e308, "9" * 5000, "[", ""])
    }
    target = {"temperature": luck.choice([0.0, 1e-300, 100.0]), "top_k": luck.choice([0, 2**53 - 1]), "top_p": 5e-324}
    verifiers = [choice | {"options": options} for choice in settings["verifiers"]]
    changed = settings | {
        "builder": {"name": name, "options": options},
        "target": settings["target"] | target,
        "verifiers": luck.choice([verifiers, settings["verifiers"]]),
        "seed": luck.choice([0, 2**63 - 1]),
        "max_new_tokens": luck.choice([1, 1_000_000]),
    }
    if base["steps"] and luck.random() < 0.5:
        return put(base, ("steps", 0, "settings"), changed)
    return base | {"settings": changed}


CONSISTENT: list[tuple[str, Callable[[random.Random, Any], Any]]] = [
    ("not recorded", _nulled),
    ("not recorded", _nulled),
    ("numbers", _number_fields),
    ("probabilities", _probabilities),
    ("distributions", _lists),
    ("texts", _texts),
    ("bytes", _bytes),
    ("slots", _slots),
    ("lengths", _lengths),
    ("verifiers", _verifiers),
    ("decisions", _decisions),
    ("bonuses", _bonuses),
    ("shape", _shapes),
    ("many steps", _many_steps),
    ("audits", _audits),
    ("failures", _failures),
    ("ends", _ends),
    ("other settings", _other_settings),
    ("tree ids", _tree_ids),
]


# What can be done to a file without understanding it.


def _damaged(luck: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(luck.randint(1, 6)):
        at = luck.randrange(len(made))
        if luck.random() < 0.5:
            made[at] = luck.randrange(256)
        else:
            del made[at : at + luck.randint(1, 3000)]
    return bytes(made)


def _bad_text(luck: random.Random, data: bytes) -> bytes:
    bad = luck.choice(
        [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800", b"\\u0000", b"\x00", b"\\x"]
    )
    at = data.find(luck.choice([b'"text": "', b'"prompt": "', b'"reason": "', b'"id": "']))
    at = data.index(b'"', at + 8) + 1
    return data[:at] + bad + data[at:]


def _zipped(luck: random.Random, data: bytes) -> bytes:
    packed = gzip.compress(data, compresslevel=1)
    bomb = _bomb(luck.choice([b" ", b"[", b"0,", b'{"a":']), luck.choice([1, 20, 80]))
    cut = luck.randrange(1, len(packed))
    return luck.choice(
        [
            packed[:cut],
            packed + packed,
            packed + b"trailing",
            packed[:cut] + packed[:cut],
            packed + bomb,
            bomb,
            gzip.compress(packed),
            b"\x1f\x8b" + luck.randbytes(200),
            _damaged(luck, packed),
        ]
    )


@cache
def _bomb(piece: bytes, megabytes: int) -> bytes:
    return gzip.compress(piece * ((megabytes << 20) // len(piece)), compresslevel=1)


def _concatenated(luck: random.Random, data: bytes) -> bytes:
    return luck.choice(
        [data + data, data + b"\n", b" " * 5000 + data, data[: luck.randrange(len(data))], b"\xef\xbb\xbf" + data]
    )


def _raw_numbers(luck: random.Random, data: bytes) -> bytes:
    """Numbers that Python's JSON writer does not write."""
    number = luck.choice(
        [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"1E400", b"9" * 5000, b"0x10", b"1_0", b"01"]
    )
    found = [match.span() for match in re.finditer(rb"(?<=: )-?[0-9][0-9.e+-]*", data[:200_000])]
    first, last = luck.choice(found)
    return data[:first] + number + data[last:]


def _dense(luck: random.Random, data: bytes) -> bytes:
    """Much in few bytes: what costs a parser a hundred times its size."""
    size = luck.choice([1, 4, 24, 63]) << 20
    head = b'{"schema_version": 1, "steps": ['
    kind = luck.choice([b"[],", b"{},", b"0,", b'"",', b"[[[0]]],", b'{"a":0},', b"1.5e3,", b"null,"])
    if luck.random() < 0.3:
        size = min(size, 8 << 20)
        return b'{"schema_version": 1, ' + b",".join(b'"%d":0' % i for i in range(size // 12)) + b"}"
    if luck.random() < 0.3:
        field = luck.choice([b'"prompt_tokens": [', b'"end_tokens": [', b'"x": ['])
        at = data.index(b'"schema_version"')
        return data[:at] + field + kind * (size // len(kind)) + b"0], " + data[at:]
    return head + kind * (size // len(kind)) + b"0]}"


def _foreign(luck: random.Random, data: bytes) -> bytes:
    return luck.choice(
        [b"", b"null", b"0", b'"x"', b"[]", b"{}", b'{"schema_version": 1}', b'{"schema_version": 1.0}', b"[" * 10**6]
        + [b'{"a":' * 50_000]
        + [data.replace(b'"schema_version": 1', b'"schema_version": ' + v) for v in (b"2", b"[1]", b"true", b"1.0")]
        + [luck.randbytes(5000), b"PK\x03\x04", b"[" + data + b"]"]
    )


FILES: list[tuple[str, Callable[[random.Random, bytes], bytes]]] = [
    ("damaged", _damaged),
    ("damaged", _damaged),
    ("bad text", _bad_text),
    ("zipped", _zipped),
    ("concatenated", _concatenated),
    ("raw numbers", _raw_numbers),
    ("raw numbers", _raw_numbers),
    ("dense", _dense),
    ("foreign", _foreign),
]
