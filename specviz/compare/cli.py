"""``specviz compare``: arguments, the run with its progress, and what is printed at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specviz.arguments import Commands
from specviz.check_cli import add_user_verifiers, load_user_verifiers
from specviz.display import printable, say
from specviz.errors import SettingsError
from specviz.models.cli import add_prompt_end, print_progress
from specviz.models.pair_spec import ModelChoice
from specviz.models.pair_spec import add_arguments as add_pair_arguments
from specviz.sampling_cli import add_ends, add_processor_arguments, add_sampling_arguments

if TYPE_CHECKING:  # at run time they would import torch, even for --help
    from specviz.compare.jobs import Job
    from specviz.compare.spec import Comparison

TREES = ("4,2,2", "explicit", "dynamic:total=28,top_k=6,depth=6", "1,1,1,1")
VERIFIERS = ("rejection", "eta", "longest_path", "traversal", "naive")
REPORT = "report.txt"
PAGE = "report.html"


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``compare``."""
    parser = commands.add_parser(
        "compare", help="run verifiers, trees, temperatures and drafts over many prompts; rows in Parquet"
    )
    add_pair_arguments(parser, several_drafts=True)
    add_user_verifiers(parser)
    add = parser.add_argument
    add("-o", "--output", default="comparison", help="folder for the rows; the same command goes on in it")
    add("--prompts", default="default", help="default (our own), a .jsonl, .csv or .parquet file, hf:NAME, humaneval")
    add("--column", help="column with the prompts (default: text, prompt, question or instruction)")
    add("--split", default="train", help="of an hf: data set (default train)")
    add("--config", help="of an hf: data set")
    add(
        "--trees",
        nargs="+",
        default=list(TREES),
        metavar="TREE",
        help="4,2,2 or [0],[1],[0,0] or dynamic:total=28,depth=6",
    )
    add(
        "--verifiers",
        nargs="+",
        default=list(VERIFIERS),
        metavar="VERIFIER",
        help="rejection, mild=eta:epsilon=0.05, or a sweep eta:epsilon=0.05/0.1,delta=0.2/0.3",
    )
    add("--temperatures", nargs="+", type=float, default=[0.7, 1.0], metavar="T")
    add("--driver", help="the verifier whose verdict is committed in paired runs (default: the first)")
    add("--paired", type=_count, metavar="N", help="prompts that are run paired: all (default) or a number")
    add("--free", type=_count, default=0, metavar="N", help="prompts on which every verifier runs free (default 0)")
    add("--no-sampling", action="store_true", help="leave out ordinary sampling, which free runs are measured against")
    add("--max-new-tokens", type=int, default=32)
    add_sampling_arguments(parser)
    add_ends(parser)
    add_processor_arguments(parser)
    add(
        "--processor-sets",
        nargs="+",
        default=[],
        metavar="SET",
        help="compare sets of processors, in place of --processor: none, 'min_p:min_p=0.1; ignore_eos', or "
        "'frozen draft repetition_penalty:penalty=1.3'; label= before it",
    )
    add("--seed", type=int, default=0)
    add("--no-chat", action="store_true", help="give prompts as they are, without the target's chat template")
    add_prompt_end(parser)
    add("--record-optimum", action="store_true", help="also accepted, expected, optimum at the nodes reached; slower")
    add(
        "--shard", type=_shard, default=(1, 1), metavar="I/N", help="do the I-th of N parts only (the folder is shared)"
    )
    add("--processes", type=int, default=0, help="processes of this machine, or workers of Ray (0: one, or one a GPU)")
    add("--engine", choices=("local", "ray"), default="local")
    parser.set_defaults(run=run)


def _count(text: str) -> int | None:
    """For argparse: a whole number from 0 on, or ``all``."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'all' nor a whole number from 0 on")
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    """For argparse: ``2/3``."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form I/N with 1 <= I <= N")
    return int(number), int(of)


def comparison_of(options: argparse.Namespace) -> Comparison:
    """The comparison that the options stand for.

    Raises:
        SettingsError: naming the first thing no run can have.
    """
    from pydantic import ValidationError

    from specviz.compare.named import parse_drafts, parse_processor_set, parse_tree, parse_verifiers
    from specviz.compare.spec import Comparison, check
    from specviz.trace.settings import first_fault

    verifiers = tuple(verifier for text in options.verifiers for verifier in parse_verifiers(text))
    fields: dict[str, Any] = {
        "drafts": parse_drafts(options.drafts)[1] if options.drafts else (),
        "trees": tuple(parse_tree(text) for text in options.trees),
        "verifiers": verifiers,
        "temperatures": tuple(options.temperatures),
        "driver": options.driver or verifiers[0].label,
        "paired": options.paired,
        "free": options.free,
        "sampling": not options.no_sampling,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "eta_cutoff": options.eta_cutoff,
        "processors": "; ".join(options.processors),
        "processor_mode": options.processor_mode,
        "processor_draft": options.processor_draft,
        "processor_sets": tuple(parse_processor_set(text) for text in options.processor_sets),
        "draft_temperature": options.draft_temperature,
        "seed": options.seed,
        "max_new_tokens": options.max_new_tokens,
        "min_new_tokens": options.min_new_tokens,
        "stop": tuple(options.stop),
        "chat": False if options.no_chat else None,
        "prompt_end_token": options.prompt_end_token,
        "record_optimum": options.record_optimum,
    }
    try:
        comparison = Comparison(**fields)
    except ValidationError as error:
        raise SettingsError(first_fault(error)) from None
    check(comparison)
    return comparison


def job_of(options: argparse.Namespace) -> Job:
    """The job that the options stand for: the comparison, its prompts and the models.

    Raises:
        SettingsError: naming the first thing that is wrong; no model is loaded for it.
    """
    from specviz.compare.jobs import Job
    from specviz.compare.named import parse_drafts
    from specviz.compare.prompts import load_prompts

    comparison = comparison_of(options)
    prompts = load_prompts(options.prompts, column=options.column, split=options.split, config=options.config)
    pair = ModelChoice.of(options)
    if options.drafts:
        pair = replace(pair, draft=parse_drafts(options.drafts)[0])
    job = Job(comparison, tuple(prompts), pair, tuple(options.verifier))
    if not job.units():
        raise SettingsError("There is nothing to run; choose prompts with --paired or --free.")
    return job


def run(options: argparse.Namespace) -> int:
    """The command. Returns 0, or 1 if rows contradict themselves.

    Raises:
        SettingsError: for what is wrong with the options, the folder or a worker.
    """
    from specviz.compare.jobs import is_finished, missing, open_folder, write_unit

    load_user_verifiers(options)
    folder = Path(options.output)
    job = open_folder(folder, job_of(options))
    if is_finished(folder):
        say(f"{folder} is finished already.", file=sys.stderr)
        return _finish(folder, job)
    todo = missing(folder, job, options.shard)
    for index, packed in _with_time_left(_engine(options, job, todo), job, options.shard, len(todo)):
        write_unit(folder, index, packed)
    left = len(missing(folder, job))
    # Asked after that: another part may have merged, and removed the units, in between.
    if left and not is_finished(folder):
        say(f"Part {options.shard[0]} of {options.shard[1]} is done; {left} runs are left to the other parts.")
        return 0
    return _finish(folder, job)


def _engine(options: argparse.Namespace, job: Job, todo: list[int]) -> Iterator[tuple[int, bytes]]:
    if not todo:
        return iter(())
    if options.engine == "ray":
        from specviz.compare.executors import run_on_ray

        return run_on_ray(job, todo, options.processes or None)
    if options.processes > 1:
        from specviz.compare.executors import run_in_processes

        return run_in_processes(job, todo, options.processes)
    from specviz.compare.jobs import run_here

    return run_here(job, todo, print_progress())


def _with_time_left(
    results: Iterator[tuple[int, bytes]], job: Job, shard: tuple[int, int], todo: int
) -> Iterator[tuple[int, bytes]]:
    from tqdm import tqdm

    total = sum(unit.index % shard[1] == shard[0] - 1 for unit in job.units())
    with tqdm(total=total, initial=total - todo, unit="run", file=sys.stderr, smoothing=0.05) as bar:
        for result in results:
            yield result
            bar.update()


def _finish(folder: Path, job: Job) -> int:
    from specviz.compare.tables import merge

    merge(folder, job)
    return _report(folder, job)


def _report(folder: Path, job: Job) -> int:
    """Read the rows back, verify them, and print, save and draw what they say."""
    from specviz.compare.labels import labels_of
    from specviz.compare.report.html_report import comparison_page
    from specviz.compare.statistics import Tally, tallies
    from specviz.compare.summary import SUMMARY, dump, summarize
    from specviz.compare.tables import read_rows
    from specviz.compare.text_report import format_report
    from specviz.compare.verify_rows import verify_rows

    found: list[Tally] = []
    problems: list[str] = []
    failed: list[str] = []
    counts = {"runs": 0, "steps": 0, "decisions": 0}
    for rows in read_rows(folder):
        found += tallies(rows)
        problems += verify_rows(rows)
        failed += [f"{row['prompt_id']}: {row['message']}" for row in rows.outputs if row["end_reason"] == "error"]
        for name, more in zip(counts, (rows.outputs, rows.steps, rows.decisions), strict=True):
            counts[name] += len(more)
    labels = labels_of(job.comparison)
    lines = [format_report(found, labels), ""]
    lines += _listed("runs broke off and are not complete", failed)
    lines += _listed("things in the rows contradict each other", problems)
    summary = ", ".join(f"{count:,} {name if name != 'steps' else 'step rows'}" for name, count in counts.items())
    lines.append(f"{summary}: " + ("every row agrees with itself." if not problems else "NOT all agree."))
    text = printable("\n".join(lines))
    made = summarize(found, labels)
    _save(folder / REPORT, f"{text}\n".encode("utf-8", "replace"))
    _save(folder / SUMMARY, dump(made))
    _save(folder / PAGE, comparison_page(made).encode("utf-8", "replace"))
    say(text)
    say(f"\nsaved {folder}")
    return 1 if problems or len(failed) == counts["runs"] else 0


def _listed(what: str, lines: list[str], most: int = 10) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - most} more"] if len(lines) > most else []
    return [f"{len(lines)} {what}:", *(f"  {line}" for line in dict.fromkeys(lines[:most])), *more, ""]


def _save(path: Path, data: bytes) -> None:
    from specviz.compare.jobs import write_atomically

    try:
        write_atomically(path, data)
    except OSError as error:
        raise SettingsError(f"The report cannot be saved to {str(path)!r} ({error.strerror}).") from None
