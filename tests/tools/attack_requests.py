"""Attacks by what is asked for and how it is written: answers, bodies, texts (items 1, 2 and 8)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from tests.tools import attack_traces as traces
from tests.tools.attack_attacker import Attacker, Case, run_id

MOST_ANSWER_MB = 64
"""No answer may be larger; the page's own have a few."""
SECOND = "127.0.0.3"


def long_strings(attacker: Attacker) -> None:
    """Four at once ask for the same frame 24 times, of a trace with one text of 15 MB; and such texts elsewhere."""
    for at, path in enumerate(traces.STRINGS):
        if at and attacker.over:
            return
        _open_and_ask(attacker, traces.with_value(path, "x" * 15_000_000, f"long-{at}"), f"{path[-1]}: ", rounds=1)


def heavy_frames(attacker: Attacker) -> None:
    """Four at once ask for 24 frames of the largest steps that a file can hold, again and again."""
    _open_and_ask(attacker, traces.heavy("heavy"), "", rounds=1000)


def _open_and_ask(attacker: Attacker, file: bytes, what: str, rounds: int) -> None:
    tab = attacker.tab()
    with attacker.web() as web:
        path = attacker.upload(web, "run.json.gz", file)
    run = run_id(attacker.open_file(tab, path, f"{what}open: ")) if path else None
    if run is None:
        tab.leave()
        return

    def ask(number: int) -> None:
        with attacker.web(timeout=60) as web:
            for turn in range(rounds):
                if attacker.over:
                    return
                steps = [0] * 24 if turn % 2 == 0 else list(range(24))
                number, fn = tab._function("on_frames_wanted")
                body = tab._asked(number, fn, {"run": run, "steps": steps}, {})
                with attacker.noting(), web.stream("POST", "/gradio_api/run/predict", json=body) as answer:
                    size = 0
                    for piece in answer.iter_bytes():
                        size += len(piece)
                        if attacker.over and size > MOST_ANSWER_MB * 1_000_000:
                            break
                    attacker.moved += size
                    attacker.note(f"{what}frames: {answer.status_code}")
                    if size > MOST_ANSWER_MB * 1_000_000:
                        attacker.fault(f"{what}an answer of more than {MOST_ANSWER_MB} MB")

    attacker.many(4, ask)
    tab.leave()


def brackets(attacker: Attacker) -> None:
    """Two clients send 1 MB of brackets, digits or quotes, twice a second, to each address that takes JSON."""
    size = 1024 * 1024 - 1000
    bodies = {
        "lists": b"[" + b"[]," * (size // 3) + b"[]]",
        "in data": b'{"fn_index":0,"session_hash":"x","data":[' + b"[]," * (size // 3) + b"[]]}",
        "objects": b"[" + b"{}," * (size // 3) + b"{}]",
        "deep": b"[" * (size // 2) + b"]" * (size // 2),
        "digits": b'{"data":[' + b"9" * size + b"]}",
        "numbers": b'{"data":[' + b"1," * (size // 2) + b"1]}",
        "quotes": b'{"data":[' + b'"",' * (size // 3) + b'""]}',
        "escapes": b'{"data":["' + b"\\u0000" * (size // 6) + b'"]}',
    }
    paths = ("run/predict", "queue/join", "call/step", "cancel", "reset", "api/step")
    _send_bodies(attacker, [(name, path, body) for name, body in bodies.items() for path in paths])


def unfit_bodies(attacker: Attacker) -> None:
    """Two clients send requests of 900 kB that are nearly right: errors that repeat them, and events that hold them."""
    tab = attacker.tab()
    long = "x" * 900_000

    def asked(handler: str, event: object) -> bytes:
        number, fn = tab._function(handler)
        return json.dumps(tab._asked(number, fn, event, {})).encode()

    bodies = [
        ("no data", "run/predict", json.dumps({"fn_index": 0, "session_hash": tab.session, "wrong": long}).encode()),
        ("event", "run/predict", asked("on_what_if", {"run": long, "step": 0, "verifier": long})),
        (
            "options",
            "run/predict",
            asked("on_what_if", {"verifier": "x", "options": {str(i): i for i in range(60_000)}}),
        ),
        ("frames", "run/predict", asked("on_frames_wanted", {"run": "x", "steps": [0] * 300_000})),
        ("hash", "queue/join", json.dumps({"fn_index": 0, "data": [], "session_hash": long}).encode()),
        ("data", "queue/join", json.dumps({"fn_index": 0, "data": [long], "session_hash": tab.session}).encode()),
        ("text", "call/open", json.dumps({"data": [long]}).encode()),
    ]
    _send_bodies(attacker, bodies)
    tab.leave()


def _send_bodies(attacker: Attacker, bodies: list[tuple[str, str, bytes]]) -> None:
    attacker.luck.shuffle(bodies)

    def send(number: int) -> None:
        with attacker.web(SECOND if number else "127.0.0.2") as web:
            for turn in range(10_000):
                if attacker.over:
                    return
                name, path, body = bodies[(2 * turn + number) % len(bodies)]
                headers = {"Content-Type": "application/json"}
                answer = attacker.post(web, f"/gradio_api/{path}", f"{name}: ", content=body, headers=headers)
                if answer is not None and len(answer.content) > len(body) // 2:
                    attacker.fault(f"{name} to {path}: the answer repeats what was sent")
                time.sleep(0.5)

    attacker.many(2, send)


def turning_text(attacker: Attacker) -> None:
    """A trace and a form whose names turn text around: no answer may have such a character in it."""
    tab = attacker.tab()
    name = f"run{traces.TURNING}gpj.json.gz"
    with attacker.web() as web:
        path = attacker.upload(web, name, traces.turning())
    texts = {}
    if path:
        texts["the file"] = attacker.open_file(tab, path)
        run = run_id(texts["the file"])
        texts["frames"] = attacker.press(tab, "on_frames_wanted", "frames: ", {"run": run, "steps": [0, 1]})
        with attacker.noting():
            texts["the list of runs"] = json.dumps(tab.press("on_list_runs"), ensure_ascii=False)
        asked = {"run": run, "step": 0, "id": 1, "verifier": traces.TURNING}
        texts["what-if"] = attacker.press(tab, "on_what_if", "what-if: ", asked)
    texts["recorded runs"] = attacker.press(tab, "on_open", "name: ", open_a_recorded_run=f"x{traces.TURNING}y")
    for field in ("target", "builder", "driver", "stop_token", "builder_k_config_tree"):
        texts[f"the field {field}"] = attacker.press(tab, "on_step", f"{field}: ", **{field: f"x{traces.TURNING}y"})
    texts["what is said of a wrong value"] = "".join(attacker.answered)
    for where, text in texts.items():
        if found := sorted(set(_decoded(text)) & set(traces.TURNING)):
            codes = " ".join(f"U+{ord(one):04X}" for one in found[:2])
            attacker.fault(f"{where}: {codes} comes back as it is")
    tab.leave()


def _decoded(text: str) -> str:
    """All strings of an answer but those that a person has typed, as a form gives them back."""
    try:
        return "".join(_strings(json.loads(text)))
    except ValueError:
        return text


def _strings(value: object) -> Iterator[str]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            left += one


CASES = [
    Case(1, "long strings", "a trace with a text of 15 MB, its frame 24 times, four at once", long_strings, 2),
    Case(1, "heavy frames", "24 frames of the largest steps, four at once, all the time", heavy_frames),
    Case(2, "brackets", "two clients send 1 MB of brackets, digits or quotes twice a second", brackets, 1.5),
    Case(2, "unfit bodies", "two clients send 900 kB that an error repeats or an event holds", unfit_bodies),
    Case(8, "turning text", "U+202E and its family in names, rules, models, files and fields", turning_text),
]
