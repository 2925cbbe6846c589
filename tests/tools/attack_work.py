"""Attacks by files and by work: tiny files, trees, questions, turns, a full disk (items 5, 6, 7 and 9)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from specviz.models.presets import PRESETS
from tests.tools import attack_traces as traces
from tests.tools.attack_attacker import Attacker, Case, run_id

TINY_REQUESTS, TINY_FILES, HEAVY_FILES, LIVE = 14, 1_000, 12, 6
PRIVATE = re.compile(r"specviz-of-|/tmp/|/held\b|site-packages")
"""Parts of paths of the server, which no answer may name."""


def tiny_files(attacker: Attacker) -> None:
    """14 requests of 1,000 files of six bytes each."""
    with attacker.web(timeout=60) as web:
        for i in range(TINY_REQUESTS):
            files = [("files", (f"{i}-{n}.json", b"%6d" % (1000 * i + n))) for n in range(TINY_FILES)]
            attacker.post(web, "/gradio_api/upload", "1,000 files: ", files=files)
    attacker.wait(attacker.seconds)


def small_files(attacker: Attacker) -> None:
    """One tiny file a request, as many requests as can be sent."""

    def send(number: int) -> None:
        with attacker.web() as web:
            count = 0
            while not attacker.over:
                count += 1
                attacker.upload(web, f"{number}-{count}.json", b"%d %d" % (number, count))

    attacker.many(4, send)


def wide_trees(attacker: Attacker) -> None:
    """A dynamic tree that keeps 128 nodes and runs 64 for each of 64 levels."""
    _press_again(attacker, "on_step", **_dynamic(top_k=64, depth=64, total=128))


def wide_work(attacker: Attacker) -> None:
    """The same rows in other ways: long contexts, questions to the models, forks, plain greedy of a long run."""
    wide = _dynamic(top_k=64, depth=64, total=128)
    long = {"prompt": "the sea is salt and " * 190, "max_new_tokens": 1_000, "chat": False}
    works: dict[str, Callable[[Any], dict[str, Any]]] = {
        "context": lambda run: {"handler": "on_step", **long, **_dynamic(top_k=10, depth=12, total=120)},
        "question": lambda run: {"handler": "on_what_if_models", "event": _question(run)},
        "fork": lambda run: {"handler": "on_fork", "event": {"run": run, "step": 5}, **wide},
        "greedy": lambda run: {"handler": "on_plain_greedy", "run_a": run},
        "page": lambda run: {"handler": "on_save_page"},
    }
    names = list(works)
    file = traces.heavy("wide", 2 * traces.MB)

    def work(number: int) -> None:
        name = names[number]
        tab = attacker.tab(timeout=60)
        with attacker.web() as web:
            path = attacker.upload(web, f"{name}.json.gz", file)
        run = run_id(attacker.open_file(tab, path)) if path else None
        with attacker.noting():
            tab.press("on_compare_tab")  # the page offers the runs that it has from then on
        while not attacker.over:
            attacker.press(tab, what=f"{name}: ", **works[name](run))
            attacker.wait(0.2)
        tab.leave()

    attacker.many(len(works), work)


def _question(run: str | None) -> dict[str, Any]:
    return {"run": run, "step": 0, "id": 1, "verifier": "rejection", "bonus": 0.5}


def live_runs(attacker: Attacker) -> None:
    """Pages of one address take a step of one run after the other: long prompts, the largest trees that are taken."""
    trees = [_dynamic(top_k=40, depth=12, total=128), _dynamic(top_k=10, depth=16, total=128) | {"audit": True}]

    def begin(number: int) -> None:
        tab = attacker.tab(timeout=60)
        turn = 0
        while not attacker.over:
            prompt = f"{number} {turn} " + "salt " * 1_000
            values = {"prompt": prompt, "max_new_tokens": 1_000, "chat": False}
            attacker.press(tab, "on_step", "step: ", **values, **trees[turn % 2])
            attacker.press(tab, "on_new", "new: ")
            turn += 1
        tab.leave()

    attacker.many(LIVE, begin)


def heavy_files(attacker: Attacker) -> None:
    """12 visitors of one address open a file of 15 MB each."""
    file = traces.heavy("turns")

    def open_one(number: int) -> None:
        tab = attacker.tab(timeout=60)
        with attacker.web(timeout=60) as web:
            while not attacker.over:
                path = attacker.upload(web, f"turns{number}.json.gz", file)
                if path:
                    attacker.open_file(tab, path)
                attacker.wait(0.2)
        tab.leave()

    attacker.many(HEAVY_FILES, open_one)


def other_dtypes(attacker: Attacker) -> None:
    """Steps with one dtype after the other, which only another copy of the models could run."""
    tab = attacker.tab(timeout=60)
    loads = attacker.log.read_text().count("pair loaded")
    choices = (
        {"dtype": "bfloat16"},
        {"dtype": "float16"},
        {"target_quantization": "int8"},
        {"device": "cpu"},
        {"target": PRESETS["default"].names[0]},  # the same model by its other name
    )
    while not attacker.over:
        for values in choices:
            attacker.press(tab, "on_step", f"{next(iter(values.values()))}: ", max_new_tokens=20, **values)
            if attacker.log.read_text().count("pair loaded") > loads:
                attacker.fault("a visitor's choice had the models loaded anew")
    tab.leave()


def full_disk(attacker: Attacker) -> None:
    """Files until the disk is full; then everything that writes must say so in one sentence and leave no half."""
    tab = attacker.tab(timeout=60)
    with attacker.web(timeout=60) as web:
        path = attacker.upload(web, "run.json.gz", traces.noisy("full", 3, 3 * traces.MB))
        run = run_id(attacker.open_file(tab, path)) if path else None
        for power in range(22, 11, -1):  # what room is left
            for i in range(20):
                data = attacker.luck.randbytes(1 << power)
                if attacker.over or not attacker.upload(web, f"{power}-{i}.json.gz", data):
                    break
    halves = _halves(attacker)
    attacker.wait(2)  # those that still come in are none
    if left := halves & _halves(attacker):
        attacker.fault(f"{len(left)} halves of files were left")
    for handler, event in (("on_hold", {"run": run}), ("on_save_trace", None), ("on_save_page", None)):
        text = attacker.press(tab, handler, f"{handler}: ", event)
        if "Something is wrong" in text:
            attacker.fault(f"{handler}: Something is wrong, and nothing more is said")
    for said in attacker.answered:
        if PRIVATE.search(said):
            attacker.fault(f"a path of the server is told: {said[:80]}")
        if said.startswith("upload: 507") and not said.removeprefix("upload: 507").strip():
            attacker.fault("an upload is refused without a sentence")
    tab.leave()


def _halves(attacker: Attacker) -> set[Path]:
    """Files under the names that Gradio gives them until all of them is there. It also leaves an empty one of each that
    it opens, which a sweep removes."""
    return {path for path in attacker.tmp.rglob("tmp*") if path.is_file() and path.stat().st_size}


def _dynamic(top_k: int, depth: int, total: int) -> dict[str, Any]:
    numbers = {"top_k": top_k, "depth": depth, "total": total}
    return {"builder": "dynamic"} | {f"builder.dynamic.{name}": number for name, number in numbers.items()}


def _press_again(attacker: Attacker, handler: str, **values: Any) -> None:
    tab = attacker.tab(timeout=60)
    while not attacker.over:
        attacker.press(tab, handler, "step: ", **values)
    tab.leave()


CASES = [
    Case(5, "tiny files", "14 requests of 1,000 files of six bytes each", tiny_files, 2),
    Case(5, "small files", "one tiny file a request, as many as can be sent", small_files),
    Case(6, "wide trees", "a dynamic tree of 128 kept nodes that runs 64 x 64", wide_trees, 2),
    Case(6, "wide work", "long contexts, questions, forks, greedy runs and pages", wide_work, 2),
    Case(6, "live runs", f"{LIVE} pages begin runs of long prompts and large trees", live_runs, 4),
    Case(7, "heavy files", "12 visitors of one address open 15 MB each", heavy_files, 2),
    Case(7, "other dtypes", "steps with one dtype after the other", other_dtypes, 2),
    Case(9, "full disk", "files until the disk is full, then links and saves", full_disk, 2, server="full disk"),
]
