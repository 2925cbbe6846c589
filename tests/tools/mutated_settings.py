"""Settings as the page's form, its events, its links and the command line hand them in, mutated. No model is loaded."""

# ruff: noqa: E501 - lists of values read best in full lines

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from specviz.app.server.trace_store import StoredTrace
from specviz.errors import ModelError, SpecvizError
from specviz.trace.schema import Settings, Trace
from tests.tools.mutated_values import HOSTILE_TEXTS, NUMBERS, SURROGATES, WHOLE, hostile

_REQUEST: Any = SimpleNamespace(session_hash="page", request=None)

BREAKPOINTS = ("parting", "nothing_accepted", "audit", "text", "token", "entropy_above", "target_prob_below")
NAMES = [
    *("default", "", " ", ".", "..", "/", "~", "~nobody-here", "~root", "/etc", "/etc/passwd", "/dev/zero", "/proc/self/environ"),
    *("gpt2", "a/b", "a/b/c", "a/../b", "../../x", "a..b", "a/b@main", "a/b@../../../etc/passwd", "a/b@refs/pr/1", "a/b@", "@x"),
    *("a/b@x@y", "a/b@%2e%2e", "a/b?x=1", "a/b#c", "http://127.0.0.1:9/x", "https://huggingface.co/a/b", "file:///etc", "hf:a/b"),
    *("-x/y", "a/-b", "a b/c", "a/b\n", "a/b\x00", "\x00", "x" * 300, "x/" * 3000, "é/ü", "１/２", "a/b" + "c" * 5000, "s3://x/y"),
    *("git@github.com:a/b", "\\\\host\\share", "C:\\x", "a/b@" + "c" * 5000, "a/b@\x00", "a/b@ü", "assets/draft", "models--a--b"),
    *("a.git", "a/b.git", "a--b/c", "_/_", "con", "nul/aux", "${HOME}", "$(id)", "`id`", "%s", "smollm2-1.7b", *SURROGATES),
]  # fmt: skip
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", re.ASCII)

Made = tuple[str, Callable[[], "str | None"]]
"""A few words, and what runs the case: None for accepted, or the sentence of a refusal."""


def a_hub(id: str, revision: str | None, _role: str = "target") -> Any:
    """Stands for the hub, and is asked for nothing but an id and a revision as the hub writes them."""
    fine = _ID.fullmatch(id) and ".." not in id and "--" not in id and len(id) <= 200
    fine = fine and (
        revision is None or (_REVISION.fullmatch(revision) and ".." not in revision and len(revision) <= 200)
    )
    assert fine, f"asked the hub for {id!r:.80} at {revision!r:.80}"
    raise ModelError(f"There is no hub here to ask for {id}; this is a test.")


def a_pair_of_our_own(progress: Any) -> Any:
    raise ModelError("The default pair is not here; this is a test.")


@contextlib.contextmanager
def no_network() -> Iterator[None]:
    """No hub, no default pair; what asks for either is told so."""
    with (
        patch("specviz.models.sources.hub_source", a_hub),
        patch("specviz.models.default_pair.ensure_target", a_pair_of_our_own),
        patch("specviz.models.default_pair.ensure_draft", a_pair_of_our_own),
    ):
        yield


def checked_only(**choice: Any) -> Any:
    """Stands for the loader: whatever is checked before weights are read, with nothing to read."""
    from specviz.models.loading import load_pair

    with no_network():
        return load_pair(**choice)


def asked(trace: Trace) -> list[str]:
    """What-if questions about the first steps of a trace, answered by it alone."""
    from specviz.app import whatif

    answers = []
    for position, step in enumerate(trace.steps[:1]):
        last = str(len(step.tree.nodes) - 1)
        for name in list(step.verdicts)[:3]:
            for change in ({}, {"coins": {"1": 0.5}}, {"forced": {"1": True, last: False}, "bonus": 0.25}):
                answers.append(
                    whatif.from_trace(trace, {"run": trace.id, "step": position, "verifier": name, **change})
                )
    return answers


class Maker:
    """Makes cases about settings.

    Args:
        actions: the handlers of a page, whose components' names it is given.
        trace: the run that is open.
        home: the folder of the run.
    """

    def __init__(self, actions: Any, trace: Trace, home: Path):
        from specviz.app.page_state import PageState, Run, models_of

        self.actions, self.trace, self.home = actions, trace, home
        self.loop = asyncio.new_event_loop()  # made here, because that opens sockets
        self.desk = PageState().show(Run(StoredTrace(trace), "a run", models_of(trace)), filled=True)
        self.values = _form_values()
        actions.form.components = dict.fromkeys(self.values)
        actions.stops.components = dict.fromkeys(BREAKPOINTS)
        actions.sessions.backend._load_pair = checked_only
        self.request = SimpleNamespace(session_hash="page", query_params={}, request=None)
        self.makers: list[Callable[[random.Random], Made]] = [
            *[
                self.form,
                self.form,
                self.form,
                self.fork,
                self.record,
                self.record,
                self.record,
                self.plan,
                self.compare,
            ],
            *[
                self.compare,
                self.what_if,
                self.what_if,
                self.breakpoints,
                self.short,
                self.link,
                self.model,
                self.model,
            ],
            *[self.event, self.library, self.flat, self.prompts],
        ]

    def make(self, luck: random.Random) -> Made:
        return luck.choice(self.makers)(luck)

    # ------------------------------------------------------------------------------------------------- the page

    def form(self, luck: random.Random) -> Made:
        """Step, Run and "Does it fit?" with a form of which some values are not what its controls give."""
        values = self._mutated(luck, self.values)
        stops = (
            self._mutated(luck, dict.fromkeys(BREAKPOINTS, "")) if luck.random() < 0.2 else dict.fromkeys(BREAKPOINTS)
        )
        count = luck.choice([3, 0, -1, 10**18])  # Gradio's number field lets nothing else through

        def run() -> str | None:
            from specviz.app.form import as_form_reads, read_form, write_form
            from specviz.app.models_form import fits

            prompt, models, settings = read_form(values)
            write_form(prompt, models, settings)
            as_form_reads(settings)
            with no_network():
                fits(self.actions.form, tuple(values.values()))
            arguments = self.actions.form.with_breakpoints(values, list(stops.values()))
            return _said(self.actions.on_run(count, self.desk, self.request, *arguments))

        return f"form {_changed(values, self.values)}", run

    def fork(self, luck: random.Random) -> Made:
        values = self._mutated(luck, self.values)
        at = luck.choice([0, 1, 5, len(self.trace.steps)])

        def run() -> str | None:
            event = SimpleNamespace(_data={"run": self.trace.id, "step": at})
            return _said(self.actions.on_fork(self.desk, event, self.request, *values.values()))

        return f"fork {_changed(values, self.values)}", run

    def what_if(self, luck: random.Random) -> Made:
        step = luck.randrange(len(self.trace.steps))
        size = len(self.trace.steps[step].tree.nodes)
        name = luck.choice([*self.trace.steps[step].verdicts, "greedy"])
        nodes = [str(luck.randrange(-1, size + 1)) for _ in range(luck.randint(0, 4))]
        question: Any = {
            "run": self.trace.id,
            "step": step,
            "verifier": name,
            "options": luck.choice([{}, {"epsilon": luck.choice(NUMBERS)}, {"x": 1}, None]),
            "coins": {node: luck.random() for node in nodes},
            "forced": {node: luck.random() < 0.5 for node in nodes[:2]},
            "bonus": luck.choice([None, 0.5, luck.choice(NUMBERS)]),
            "id": 7,
        }
        for _ in range(luck.choice([0, 1, 1, 2])):
            question[luck.choice(list(question))] = hostile(luck)
        if luck.random() < 0.05:
            question = hostile(luck)

        def run() -> str | None:
            from specviz.app import whatif

            said = _said([whatif.from_trace(self.trace, question)])
            return said or _said(
                whatif.through_models(self.actions.sessions, self.trace, self.desk.run.models, question)
            )

        return f"what if {name}", run

    def breakpoints(self, luck: random.Random) -> Made:
        stops = self._mutated(luck, dict.fromkeys(BREAKPOINTS, ""))
        at = luck.choice(["0", "1", "7"])
        return f"breakpoints {list(stops.values())!r:.60}", lambda: _said(
            [self.loop.run_until_complete(self.actions.on_next_hit(at, self.desk, _REQUEST, *stops.values()))]
        )

    def link(self, luck: random.Random) -> Made:
        texts = [
            *HOSTILE_TEXTS,
            *NAMES,
            "chain-of-4",
            "h-0123456789abcdef",
            "h-../../../etc/pas",
            "h-" + "x" * 16 + "\n",
        ]
        asked_for = {name: luck.choice(texts) for name in ("trace", "step", "node", "verifier")}
        if luck.random() < 0.5:
            asked_for["trace"] = "chain-of-4"

        def run() -> str | None:
            request = SimpleNamespace(session_hash="page", query_params=asked_for, request=None)
            return _said([self.actions.on_load(request)[0]])

        return f"link {asked_for['trace']!r:.60}", run

    def event(self, luck: random.Random) -> Made:
        """Events of the viewer, whose data a stranger can write by hand."""
        from specviz.app import faults, lessons, run_handlers

        wanted = hostile(luck)
        steps = luck.choice([[hostile(luck)], [0, 1, -5, 10**6], list(range(5000)), hostile(luck)])
        steps = steps if isinstance(steps, list) else [steps]

        def run() -> str | None:
            told = [
                lessons.open_lesson(luck.choice([wanted, {"name": wanted}]))[0],
                faults.open_fault(luck.choice([wanted, {"name": wanted}]))[0],
                run_handlers.wanted_block(self.trace, self.trace.id, steps),
                run_handlers.file_title(luck.choice([*HOSTILE_TEXTS, *NAMES])),
            ]
            return _said(told)

        return "event", run

    def library(self, luck: random.Random) -> Made:
        """Names of recorded runs, listed runs, sides of a comparison, files."""
        name = luck.choice([*NAMES, *HOSTILE_TEXTS, "recorded:chain-of-4", "recorded:../x", self.trace.id])
        # Gradio hands over nothing but files of its upload folder.
        path = luck.choice(
            [str(self.home), "/dev/null", *(f"{self.home}/{part}" for part in ("none", "x" * 300, "a\0b"))]
        )

        def run() -> str | None:
            from specviz.app import opening
            from specviz.app.server.clients import Client

            told = [
                self.actions.on_open(name, self.desk)[0],
                self.actions.on_open_listed(name, self.desk)[0],
                self.actions.on_compare(self.desk, name, self.trace.id)[0],
            ]
            try:
                opening.uploaded(self.actions.readers, path, 1 << 20, Client())
            except SpecvizError as error:
                return _longest(_said(told), str(error))
            return _said(told)

        return f"library {name!r:.60}", run

    def model(self, luck: random.Random) -> Made:
        """Nothing but presets, ids as the hub writes them, and folders that are there."""
        name = luck.choice(NAMES)
        if luck.random() < 0.5:
            name = "".join(luck.choice([name, *NAMES[:20], "/", "@", "..", "\u2024", "\uff0f"]) for _ in range(2))

        def run() -> str | None:
            from specviz.models.planning import read_known_config
            from specviz.models.sources import find_source

            said = None
            with no_network():
                for look in (find_source, read_known_config):
                    try:
                        look(name, luck.choice(["target", "draft"]), lambda *told: None)
                    except SpecvizError as error:
                        said = str(error)
            return said

        return f"model {name!r:.80}", run

    # ----------------------------------------------------------------------------------------- the command line

    def record(self, luck: random.Random) -> Made:
        arguments = ["record", "--prompt", luck.choice(["hello", *HOSTILE_TEXTS])]
        for _ in range(luck.randint(1, 4)):
            arguments += luck.choice(_FLAGS)(luck)
        arguments += (
            ["-o", str(self.home / "made" / "trace.json.gz")]
            if luck.random() < 0.1
            else ["-o", str(self.home / "t.gz")]
        )
        return f"record {arguments[3:-2]!r:.120}", lambda: _command(arguments)

    def plan(self, luck: random.Random) -> Made:
        arguments = ["plan"]
        for _ in range(luck.randint(1, 3)):
            arguments += luck.choice([*_FLAGS[:6], *_MODEL_FLAGS])(luck)
        if luck.random() < 0.4:
            arguments += ["--device-memory", luck.choice(["16GB", "9" * 400 + "GB", "0.0", *HOSTILE_TEXTS])]
        if luck.random() < 0.4:
            arguments += ["--context", luck.choice(["1", "9" * 400, "²", *HOSTILE_TEXTS])]
        return f"plan {arguments[1:]!r:.120}", lambda: _command(arguments)

    def compare(self, luck: random.Random) -> Made:
        """The plan of a comparison; nothing is run."""
        trees = [luck.choice(_TREES + HOSTILE_TEXTS) for _ in range(luck.randint(1, 3))]
        verifiers = [luck.choice(_VERIFIERS + HOSTILE_TEXTS) for _ in range(luck.randint(1, 3))]
        arguments = ["compare", "--trees", *map(_plain, trees), "--verifiers", *map(_plain, verifiers)]
        for name, good in _COMPARE.items():
            if luck.random() < 0.15:
                arguments += [f"{name}={luck.choice([good, *HOSTILE_TEXTS, *map(str, NUMBERS), *map(_digits, WHOLE)])}"]

        def run() -> str | None:
            from specviz.compare.cli import job_of

            options = _parsed(arguments)
            if isinstance(options, str):
                return options
            job = job_of(options)
            len(job.units())
            return None

        return f"compare {arguments[1:]!r:.160}", run

    def short(self, luck: random.Random) -> Made:
        written = [
            luck.choice(["token=", "text=", "entropy>", "prob<", "audit", "parting", ""])
            + luck.choice([*HOSTILE_TEXTS, *map(str, NUMBERS), *map(_digits, WHOLE)])
            for _ in range(luck.randint(1, 3))
        ]

        def run() -> str | None:
            from specviz.trace.breakpoints import first_hit, parse_short

            first_hit(self.trace, 0, parse_short(written))
            return None

        return f"breakpoints {written!r:.80}", run

    def flat(self, luck: random.Random) -> Made:
        """Settings and options as pairs and as values."""
        pairs = [
            luck.choice(HOSTILE_TEXTS) + "=" + luck.choice([*HOSTILE_TEXTS, *map(_digits, WHOLE)]) for _ in range(2)
        ]
        fields = {luck.choice(list(Settings.model_fields)): hostile(luck) for _ in range(2)}
        number = hostile(luck)

        def run() -> str | None:
            from specviz.trace.settings import build_choice, build_sampling, build_settings, flat_settings, parse_pairs

            said = None
            for build in (
                lambda: parse_pairs(pairs, "builder"),
                lambda: build_choice(luck.choice(HOSTILE_TEXTS), parse_pairs(pairs, "builder")),
                lambda: build_sampling(temperature=number, top_k=number),
                lambda: flat_settings(build_settings(**fields)),
            ):
                try:
                    build()
                except SpecvizError as error:
                    said = _longest(said, str(error))
            return said

        return f"pairs {pairs!r:.60} {list(fields)}", run

    def prompts(self, luck: random.Random) -> Made:
        """Prompt files of a comparison."""
        row = {luck.choice(["text", "prompt", "id", "kind", "reference", "x"]): hostile(luck) for _ in range(3)}
        import json

        with contextlib.suppress(ValueError):
            text = json.dumps({"text": "hello", **row})
        text = luck.choice([text, text * 2, text[:-5], '{"text": ' * 5000, ",".join(HOSTILE_TEXTS), "\0", ""])
        ending = luck.choice([".jsonl", ".csv", ".parquet", ".txt", ""])

        def run() -> str | None:
            from specviz.compare.prompts import load_prompts

            path = self.home / f"prompts{ending}"
            path.write_bytes(text.encode("utf-8", "replace"))
            said = None
            for source in (str(path), luck.choice([name for name in NAMES if not name.startswith("hf:")])):
                try:
                    load_prompts(source, column=luck.choice([None, "text", *HOSTILE_TEXTS]))
                except SpecvizError as error:
                    said = _longest(said, str(error))
            return said

        return f"prompts {ending} {text!r:.40}", run

    def _mutated(self, luck: random.Random, values: dict[str, Any]) -> dict[str, Any]:
        made = dict(values)
        for _ in range(luck.choice([0, 1, 1, 2, 3])):
            name = luck.choice(list(made))
            now = made[name]
            made[name] = luck.choice(
                [
                    hostile(luck),
                    luck.choice([*HOSTILE_TEXTS, *SURROGATES]),
                    luck.choice(NUMBERS + WHOLE),
                    luck.choice(NAMES) if name in ("target", "draft") else now,
                    luck.choice(_TREES) if "tree" in name or "paths" in name else now,
                    luck.choice(list(made.values())),
                ]
            )
        return made


def _form_values() -> dict[str, Any]:
    """Every control of the form at its start."""
    from specviz.app.form import write_form
    from specviz.drafting import BUILDERS
    from specviz.models.pair_spec import ModelChoice
    from specviz.verifiers import VERIFIERS

    values = write_form("Why is the sky blue?", ModelChoice(), Settings())
    for kind, registry in (("builder", BUILDERS), ("verifier", VERIFIERS)):
        for name, one in registry.items():
            for option, info in one.Options.model_fields.items():
                values.setdefault(f"{kind}.{name}.{option}", info.default)
    return values


def _changed(values: dict[str, Any], before: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r:.30}" for name, value in values.items() if value is not before[name])[:160]


def _said(answers: Any) -> str | None:
    """The sentence of the first block that tells of an error, ``!`` before one that tells of a bug."""
    said = None
    for answer in answers:
        for text in answer if isinstance(answer, (list, tuple)) else [answer]:
            if not isinstance(text, str):
                continue
            if "Something is wrong in specviz" in text:
                return f"! {text[:300]}"
            if found := re.search(r'"kind":"error","text":"((?:[^"\\]|\\.)*)"', text):
                said = _longest(said, found[1])
            if found := re.search(r'"error":"((?:[^"\\]|\\.)*)"', text):
                said = _longest(said, found[1])
    if said is not None and len(said) > 700:
        return f"! no sentence ({len(said)} characters): {said[:300]}"
    return said


def _longest(one: str | None, other: str) -> str:
    if len(other) > 700 or "\n" in other:
        return f"! no sentence ({len(other)} characters): {other[:300]!r}"
    return max(one or "", other, key=len) if not (one or "").startswith("!") else str(one)


def _parsed(arguments: list[str]) -> Any:
    """The options, or what argparse says of them."""
    from specviz.cli import parse

    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            return parse(arguments)
    except SystemExit as stop:
        if stop.code not in (0, 2):
            raise RuntimeError(f"it ended with {stop.code!r}") from None
        return told.getvalue().strip().splitlines()[-1][:600] if told.getvalue() else "help"


def _command(arguments: list[str]) -> str | None:
    """``python -m specviz`` with a loader that reads no weights: its exit status and what it said."""
    from specviz.cli import main

    arguments = [argument.replace("\0", "").encode("utf-8", "replace").decode() for argument in arguments]
    options = _parsed(arguments)
    if isinstance(options, str):
        return options
    told = io.StringIO()
    with (
        no_network(),
        contextlib.redirect_stderr(told),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        status = main(arguments)
    if status == 2:
        return _longest(None, told.getvalue().strip().rpartition("specviz: ")[2])  # progress comes before it
    assert status in (0, 1), f"it ended with {status}: {told.getvalue()[:300]}"
    return None


def _digits(number: int) -> str:
    return str(number) if abs(number) < 10**4000 else "9" * 4400


def _plain(text: str) -> str:
    """argparse takes what begins with a dash for an option, and an empty word for nothing."""
    return text.lstrip("-").replace("\0", "") or "x"


_TREES = [
    *("4,2,2", "", "0", "-1", "1,", ",", "9" * 4400, "32,32", "1025", ",".join(["1"] * 2000), "2," * 30 + "2", "1.5", "１,２", "4;2"),
    *("[0]", "[0],[0,0]", "[1]", "[0],[0]", "[[0]]", "[" * 3000, "[0" + ",0" * 3000 + "]", '["a"]', "[null]", "[1e9]", "[-1]", "[NaN]"),
    *("dynamic:total=28,depth=6", "dynamic:total=1e9", "dynamic:depth=", "explicit:paths=[0]", "sequoia:acceptance=nan", "k_config"),
    *("label=4,2,2", "=4", "a=b=4", "prompt_lookup:places=64,depth=64", "sequoia:acceptance=0.5,total=1024,depth=32", "4,2,2:proposal=x"),
    *("sequoia:acceptance=" + "0.01/" * 40, "4,2,2:proposal=top_k", "x" * 3000, "nobody:x=1", "dynamic:rule=best_first,threshold=nan"),
]  # fmt: skip
_VERIFIERS = [
    *("rejection", "eta:epsilon=0.2,delta=0.4", "eta:epsilon=0.05/0.1,delta=0.2/0.3", "mild=eta:epsilon=0.05", "eta:epsilon=nan"),
    *("eta:epsilon=" + "/".join(["0.1"] * 300), "eta:epsilon=1e999", "eta:x=1", "eta:epsilon", "nobody", "=", ":", "eta=rejection"),
    *("eta:epsilon=" + "9" * 4400, "eta:" + "a=1/2," * 60, "ordinary=rejection", "x" * 300 + "=rejection", "eta:select=first", "/"),
]  # fmt: skip
_COMPARE = {
    "--temperatures": "1.0",
    "--driver": "rejection",
    "--paired": "3",
    "--free": "1",
    "--max-new-tokens": "8",
    "--top-k": "5",
    "--top-p": "0.5",
    "--eta-cutoff": "0.1",
    "--draft-temperature": "1",
    "--seed": "3",
    "--shard": "1/2",
    "--prompts": "default",
    "--column": "text",
}


def _valued(name: str, *good: str) -> Callable[[random.Random], list[str]]:
    def made(luck: random.Random) -> list[str]:
        return [f"{name}={luck.choice([*good, *HOSTILE_TEXTS, *map(str, NUMBERS), *map(_digits, WHOLE)])}"]

    return made


def _of(name: str, values: list[str]) -> Callable[[random.Random], list[str]]:
    return lambda luck: [f"{name}={luck.choice(values)}"]


_FLAGS: list[Callable[[random.Random], list[str]]] = [
    _of("--tree", _TREES),
    _valued("--builder", "k_config", "dynamic", "sequoia", "explicit", "prompt_lookup"),
    _valued("--builder-option", "total=60", "x=1", "total=" + "9" * 4400, "depth=nan"),
    _valued("--proposal", "top_k"),
    _of("--target", NAMES),
    _of("--draft", NAMES),
    _valued("--temperature", "0"),
    _valued("--top-k", "3"),
    _valued("--top-p", "0.5"),
    _valued("--eta-cutoff", "0.1"),
    _valued("--draft-temperature", "0"),
    _valued("--verifiers", "rejection,eta", "rejection," * 3000, "rejection,rejection"),
    _valued(
        "--verifier-option", "eta.epsilon=0.2", "eta.epsilon=1e999", "x.y=1", "eta.x=1", "eta.epsilon=" + "9" * 4400
    ),
    _valued("--driver", "eta"),
    _valued("--seed", "5"),
    _valued("--max-new-tokens", "5"),
    _valued("--until", "parting", "token=" + "9" * 4400, "entropy>1e999", "prob<nan"),
    _valued("--preset", "default", "smollm2-1.7b"),
]
_MODEL_FLAGS = [_of("--target", NAMES), _of("--draft", NAMES), _valued("--preset", "default", "llama-160m")]
