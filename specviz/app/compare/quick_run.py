"""A small comparison that a visitor starts on the page and waits for: its limits, and the runs it consists of."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from specviz.app.compare.store import ComparisonStore, about, summarized
from specviz.app.compare.view import Opened
from specviz.app.server.limits import SMALL_COMPARISON, Limits
from specviz.app.server.progress import Progress
from specviz.app.server.session_registry import Sessions
from specviz.app.server.tempdir import hidden_folder
from specviz.errors import SettingsError
from specviz.interruption import StepEndedError, endable
from specviz.models.pair_spec import ModelChoice
from specviz.trace.processors import written

TITLE = "your small comparison"


@dataclass(frozen=True)
class QuickRun(Progress):
    """The state of a small comparison after each finished prompt, and at its end.

    Attributes:
        opened: the part that can be looked at; None if it was stopped before there was any.
        key: what finds it in the store, once it is finished.
    """

    opened: Opened | None = None
    key: str | None = None


def small_job(values: Mapping[str, Any], models: ModelChoice, limits: Limits) -> Any:
    """The job (a :class:`~specviz.compare.jobs.Job`) that the form describes.

    Args:
        values: ``prompts``, ``free``, ``tokens`` (numbers), ``trees``, ``verifiers``, ``temperatures`` (texts);
            ``processors`` (texts of sets that are compared, or none), ``processors_of_all`` (of all runs otherwise);
            ``prompt_end_token``, ``min_new_tokens``, ``stop`` and ``record_optimum`` as in
            :class:`~specviz.trace.schema.Settings`.

    Raises:
        SettingsError: naming the first thing that is wrong, or the limit that is passed.
    """
    from specviz.compare.jobs import Job
    from specviz.compare.named import parse_processor_set, parse_tree, parse_verifiers
    from specviz.compare.prompts import load_prompts, spread
    from specviz.compare.spec import Comparison, check

    trees = [parse_tree(text) for text in values["trees"] if text.strip()]
    verifiers = [one for text in values["verifiers"] for one in parse_verifiers(text)]
    sets = tuple(parse_processor_set(text) for text in values.get("processors", ()) if text.strip())
    of_all = values.get("processors_of_all") if not sets else None
    try:
        temperatures = tuple(float(text) for text in values["temperatures"])
        count, free, tokens = (int(values[name] or 0) for name in ("prompts", "free", "tokens"))
    except (ValueError, TypeError, OverflowError):
        raise SettingsError("Temperatures, prompts and tokens must be numbers.") from None
    sizes = {
        "prompts": count,
        "trees": len(trees),
        "verifiers": len(verifiers),
        "temperatures": len(temperatures),
        "processors": max(1, len(sets)),
        "tokens": tokens,
    }
    for name, size in sizes.items():
        most = SMALL_COMPARISON[name]
        if not 1 <= size <= most:
            raise SettingsError(f"A small comparison has 1 to {most} {name}, and not {size}; {_LARGER}")
    if not 0 <= free <= count:
        raise SettingsError(f"Of {count} prompts 0 to {count} can also be run free, and not {free}.")
    fed = {tree.label: limits.check_tree(tree.choice, len(verifiers)).fed for tree in trees}
    comparison = Comparison(
        trees=tuple(trees),
        verifiers=tuple(verifiers),
        temperatures=temperatures,
        driver=verifiers[0].label,
        free=free,
        max_new_tokens=tokens,
        prompt_end_token=values.get("prompt_end_token", "refuse"),
        min_new_tokens=values.get("min_new_tokens", 0),
        stop=values.get("stop", ()),
        processors=written(of_all.chosen) if of_all else "",
        processor_mode=of_all.mode if of_all else "exact",
        processor_draft=of_all is not None and of_all.draft,
        processor_sets=sets,
        record_optimum=values.get("record_optimum", False),
    )
    check(comparison)
    job = Job(comparison, tuple(spread(load_prompts(), count)), models)
    whole = len(job.units()) * tokens
    if whole > limits.comparison_tokens:
        raise SettingsError(
            f"These are {len(job.units())} runs of {tokens} tokens, {whole:,} in all; the page makes at most "
            f"{limits.comparison_tokens:,}: {_LARGER}"
        )
    rows = sum(fed.get(unit.tree, 1) for unit in job.units()) * tokens  # a step commits a token at least
    if rows > limits.comparison_rows:
        raise SettingsError(
            f"The trees of these runs can feed the models {rows:,} tokens and the page feeds a small comparison "
            f"{limits.comparison_rows:,}: lower tokens or the trees' nodes, or use python -m specviz compare."
        )
    return job


_LARGER = "choose fewer, or use python -m specviz compare."


def run_small(sessions: Sessions, page: str, store: ComparisonStore, job: Any) -> Iterator[Progress]:
    """Make a small comparison, yielding how far it is.

    Between any two steps other visitors can use the models. Stop and the end of its seconds keep the prompts that are
    finished.
    """
    from specviz.compare.jobs import refuse_ended_prompts
    from specviz.compare.labels import labels_of
    from specviz.compare.run_unit import Result, step_unit
    from specviz.compare.statistics import Tally, tallies

    sessions.clear_stop(page)
    labels = labels_of(job.comparison)
    # Prompt by prompt: the finished ones are a complete comparison of fewer prompts at any moment.
    places = {prompt.id: place for place, prompt in enumerate(job.prompts)}
    order = sorted(job.units(), key=lambda unit: places[unit.prompt.id])
    done: list[tuple[Any, Result]] = []
    found: list[Tally] = []
    began = time.monotonic()

    def is_over() -> bool:
        return sessions.must_stop(page) or time.monotonic() - began > sessions.limits.comparison_seconds

    for number, unit in enumerate(order):
        processed = "" if unit.processors is None else f"{unit.processors}, "
        label = f"Run {number + 1} of {len(order)}: {unit.prompt.id}, {processed}{unit.tree}, "
        label += f"temperature {unit.temperature:g}"
        # The pair is taken anew for every run, so that another pair that needs the memory can be loaded in between.
        pair = yield from sessions.backend.pair(job.pair)
        if number == 0:
            refuse_ended_prompts(pair, job.comparison, job.prompts)
            _check_memory(sessions.limits, pair, job)
            began = time.monotonic()
        steps = step_unit(pair, job.comparison, unit)
        result: Result | None = None
        while result is None:
            if is_over():
                steps.close()
                break
            yield Progress(f"{label}{_left(began, number, len(order))}", number / len(order))
            try:
                result = sessions.backend.lock.do(_next, steps, is_over)
            except StepEndedError:
                break
        del pair, steps
        if result is None:
            break
        done.append((unit, result))
        found += tallies(result.rows)
        finished = number + 1 == len(order) or order[number + 1].prompt.id != unit.prompt.id
        if finished and number + 1 < len(order):
            summary = summarized(found, labels=labels)
            opened = Opened(f"{TITLE}, so far", about(None, summary), summary)
            yield QuickRun(f"{label}.", (number + 1) / len(order), opened)
    yield _finished(store, job, done, len(order), page, sessions.limits)


def _next(steps: Generator[Any, None, None], must_end: Callable[[], bool]) -> Any:
    with endable(must_end):
        return next(steps)


def _check_memory(limits: Limits, pair: Any, job: Any) -> None:
    """See that the steps of all runs fit, by the characters of the longest prompt, which are more than its tokens."""
    longest = max(len(prompt.text) for prompt in job.prompts)
    for tree in job.comparison.trees:
        work = limits.check_tree(tree.choice, len(job.comparison.verifiers))
        limits.check_step(pair, longest + job.comparison.max_new_tokens, work, "choose smaller trees")


def _finished(
    store: ComparisonStore, job: Any, done: list[tuple[Any, Any]], wanted: int, page: str, limits: Limits
) -> QuickRun:
    """Write the prompts all of whose runs are done as a finished comparison."""
    from specviz.compare.jobs import open_folder, write_unit
    from specviz.compare.run_unit import pack
    from specviz.compare.statistics import tallies
    from specviz.compare.tables import merge

    def key(unit: Any) -> tuple[Any, ...]:
        return (unit.mode, unit.prompt.id, unit.processors, unit.tree, unit.temperature, unit.verifier)

    by_key = {key(unit): result for unit, result in done}
    whole = tuple(
        prompt
        for prompt in job.prompts
        if all(key(unit) in by_key for unit in job.units() if unit.prompt.id == prompt.id)
    )
    if not whole:
        return QuickRun("Stopped before the first prompt was finished; there is nothing to show.")
    free = len({unit.prompt.id for unit in job.units() if unit.mode == "free"} & {prompt.id for prompt in whole})
    # Which prompts run free is chosen by their kinds, and of fewer prompts others would be chosen. So either all of
    # the finished ones ran free, or the free runs are left out.
    rest = replace(job, prompts=whole)
    if len(whole) < len(job.prompts):
        rest = replace(rest, comparison=job.comparison.model_copy(update={"free": None if free == len(whole) else 0}))
    home = hidden_folder("comparison-")
    folder = Path(home.name)
    open_folder(folder, rest)
    found = []
    for unit in rest.units():
        result = replace(by_key[key(unit)], index=unit.index)
        found += tallies(result.rows)
        write_unit(folder, unit.index, pack(result))
    merge(folder, rest)
    summary = summarized(found, folder)
    opened = Opened(TITLE, about(folder, summary), summary, folder)
    text = (
        f"All {wanted} runs are done."
        if len(done) == wanted
        else f"Stopped after {len(done)} of {wanted} runs; kept are the {len(whole)} prompts that were finished."
    )
    return QuickRun(text, None, opened, store.add(opened, home, page, limits))


def _left(began: float, done: int, wanted: int) -> str:
    if not done:
        return ""
    seconds = (time.monotonic() - began) / done * (wanted - done)
    return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {max(1, round(seconds))} s left"
