"""Recordings of another engine, made here, and mutated as traces are."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
from typing import Any

import numpy as np

from specviz.recorder.recorder import Recorder
from tests.tools.mutated_fields import FIELDS, FILES


def bases() -> list[list[Any]]:
    """The lines of recordings of levels 1, 2 and 4, of two requests and of a step that failed, as JSON values."""
    return [_lines(_recorded(level)) for level in (1, 2, 4)] + [_lines(_batch()), _lines(_failed())]


def mutated(luck: random.Random, made: list[list[Any]]) -> tuple[str, bytes]:
    """A few words, and the file."""
    lines = luck.choice(made)
    roll = luck.random()
    if roll < 0.15:
        name, change = luck.choice([one for one in FILES if one[0] != "dense"])  # that one knows a trace's beginning
        return name, change(luck, _file(lines))
    done = []
    for _ in range(luck.choice([1, 1, 1, 2, 3])):
        name, edit = luck.choice(LINES if roll < 0.4 else FIELDS)
        with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError, ValueError):  # broken before
            # In their way: ``steps`` is what traces have, so what looks for steps finds the lines.
            lines = edit(luck, {"steps": lines})["steps"]
            done.append(name)
    try:
        data = _file(lines)
    except (ValueError, TypeError):  # a number with more digits than Python writes, lines that are none
        data = b"{}"
    return " + ".join(done), gzip.compress(data, compresslevel=1) if luck.random() < 0.05 else data


def _file(lines: list[Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _lines(rec: Recorder) -> list[Any]:
    return [json.loads(line) for line in rec._file.read().splitlines()]


def _recorded(level: int) -> Recorder:
    numbers = np.random.default_rng(level)
    rec = Recorder(prompt=[1, 2], decode=lambda ids: "".join(map(chr, ids)), sampling=1.0, rule="rejection")
    for i in range(2):
        p, q = (numbers.dirichlet(np.ones(30), n).astype(np.float32) for n in (4, 2))
        with rec.step() as step:
            step.tree([2, 3, 4, 5 + i], [-1, 0, 0, 1])
            more: dict[str, Any] = {}
            if level > 1:
                step.draft(q, proposal="with_replacement")
                step.target(p, logits=np.log(p), positions=[1, 2, 2, 3], mask=np.tri(4, 5, 1))
                more = {"coins": {1: 0.1, 3: 0.9, -1: 0.5}, "thresholds": {1: 0.5, 3: 0.25}, "bonus_row": p[1]}
            if level > 3:
                layers = [(numbers.random((1, 2, 5, 4)), numbers.random((1, 2, 5, 4)))]
                with step.cache("target", lambda now=layers: now, length=1):
                    layers[0] = tuple(x[:, :, [0, 1, 2]] for x in layers[0])  # type: ignore[assignment]
            step.verify(accepted=[1], bonus=2, **more)
    rec.end("max_new_tokens")
    return rec


def _batch() -> Recorder:
    rec = Recorder(decode=str)
    for name in ("a", "b"):
        rec.prompt([1], request=name)
        with rec.step(name) as step:
            step.verify(accepted=[], bonus=2)
    return rec


def _failed() -> Recorder:
    rec = Recorder(prompt=[1])
    with contextlib.suppress(ZeroDivisionError), rec.step() as step:
        step.tree([1, 2, 3])
        raise ZeroDivisionError
    return rec


def _moved(luck: random.Random, base: Any) -> Any:
    lines = list(base["steps"])
    lines.insert(luck.randrange(len(lines) + 1), lines.pop(luck.randrange(len(lines))))
    return {"steps": lines}


def _again(luck: random.Random, base: Any) -> Any:
    lines = list(base["steps"])
    lines[luck.randrange(1, len(lines)) :] *= luck.choice([2, 3, 300])
    return {"steps": lines}


def _renamed(luck: random.Random, base: Any) -> Any:
    lines = [dict(line) for line in base["steps"]]
    luck.choice(lines[1:])["request"] = luck.choice([None, "", "a", "b", "x" * 200, "\u202e<b>", 5])
    return {"steps": lines}


def _without(luck: random.Random, base: Any) -> Any:
    """Null, or nothing, in the place of something: most may not have been recorded."""
    lines = json.loads(json.dumps(base["steps"]))
    here = luck.choice(lines[1:])
    while isinstance(here, (dict, list)) and here:
        key = luck.choice([*here]) if isinstance(here, dict) else luck.randrange(len(here))
        if luck.random() < 0.3 or not isinstance(here[key], (dict, list)):
            here[key] = None
            break
        here = here[key]
    return {"steps": lines}


LINES = [("moved line", _moved), ("repeated lines", _again), ("other request", _renamed), ("not recorded", _without)]
