"""``specviz train-draft`` and ``specviz measure-draft`` on the command line."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from specviz.arguments import Commands
from specviz.display import say
from specviz.errors import SettingsError
from specviz.models.cli import load_pair, print_progress
from specviz.models.pair_spec import ModelChoice
from specviz.models.pair_spec import add_arguments as add_pair_arguments
from specviz.train.choices import EAGLE3, OWN

MOST_SHARDS = 100_000
"""Shards that can exist: the numbers in their file names have five digits."""


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``train-draft`` and ``measure-draft``."""
    parser = commands.add_parser("train-draft", help="distil a draft from a target, on chats the target writes")
    add_pair_arguments(parser)
    _add_train_arguments(parser)
    parser.set_defaults(run=train_draft)

    parser = commands.add_parser(
        "measure-draft",
        help="how well a draft foresees its target, and what trees make of it; or several drafts",
    )
    add_pair_arguments(parser, several_drafts=True)
    _add_measure_arguments(parser)
    parser.set_defaults(run=measure_draft)


def _add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", help="chats, state and result (default: draft-training in the cache folder)")
    parser.add_argument("--shards", type=int, default=40, help="files of 48 chats to have before training (default 40)")
    parser.add_argument(
        "--first-shard", type=int, default=0, help="number of the first; other numbers are other chats (default 0)"
    )
    parser.add_argument(
        "--format",
        choices=(OWN, *EAGLE3),
        default=OWN,
        help="own: the draft's layers or its head, as assets/draft has them (default); eagle3, eagle3.1: a head that "
        "is all of the draft, in the files of the package speculators; --draft is not read",
    )
    parser.add_argument(
        "--layers", type=int, help="of the draft; more than it has are added (default 2; 1 of an EAGLE-3 head)"
    )
    parser.add_argument("--batches", type=int, help="of 8 chats each (default 1900, for a head 800)")
    parser.add_argument(
        "--rate", type=float, help="highest learning rate (default 0.0004, for a head over layers 0.00015)"
    )
    parser.add_argument(
        "--reads",
        metavar="LAYERS",
        help="train the head that reads these hidden states of the target, such as 20,30, or, with none, the layers "
        "(default: the head if the draft has one; an EAGLE-3 head reads 2, n/2 and n - 3 of n)",
    )
    parser.add_argument("--seed", type=int, default=0)
    only = parser.add_argument_group("an EAGLE-3 head only")
    only.add_argument(
        "--draft-vocabulary", type=int, metavar="TOKENS", help="that it can draft: the likeliest (default 8192)"
    )
    only.add_argument("--steps", type=int, help="tokens on that it learns to draft from its own output (default 3)")
    only.add_argument(
        "--own-embeddings", action="store_true", help="write the target's embeddings with it; some engines want them"
    )
    only.add_argument("--start", metavar="FOLDER", help="of an EAGLE-3 head to go on from (default: from the target)")


def _add_measure_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", help="where held-out chats are kept (default: draft-training in the cache folder)")
    parser.add_argument("--shards", type=int, default=1, help="files of 48 held-out chats (default 1)")
    parser.add_argument("--runs", type=int, default=12, help="held-out prompts that every tree decodes (default 12)")
    parser.add_argument("--max-new-tokens", type=int, default=48)


def train_draft(options: argparse.Namespace) -> int:
    """Write chats, train on them, say where the layers are. Going on after a stop needs the same command again."""
    from specviz.train.chats import write_shard
    from specviz.train.student import EAGLE3_PLAN, HEAD_PLAN, TrainingPlan
    from specviz.train.train import Progress, check_plan, train

    _check(options.shards >= 1, "shards")
    given = _given(options)
    if options.first_shard < 0 or options.first_shard + options.shards > MOST_SHARDS:
        raise SettingsError(f"There are shards 0 to {MOST_SHARDS - 1:,}; lower --first-shard or --shards.")
    folder = _folder(options)
    if options.format != OWN:  # chats come from the target alone, and it stands in for the draft
        options.draft, options.draft_quantization = options.target, options.target_quantization
    pair = load_pair(options)
    reads = _layers(options.reads, pair, own=options.format == OWN)
    known = EAGLE3_PLAN if options.format != OWN else HEAD_PLAN if reads else TrainingPlan()
    plan = replace(known, seed=options.seed, reads=reads, **given)
    check_plan(pair, plan)  # before hours of writing
    _say(f"the target writes its chats into {folder}; a shard of 48 takes minutes, and those that are there are kept")
    for done, number in enumerate(range(options.first_shard, options.first_shard + options.shards), 1):
        if tokens := write_shard(pair, folder, number):
            _say(f"chats {done} of {options.shards}: {tokens} tokens")

    def report(progress: Progress) -> None:
        _say(
            f"batch {progress.batch} of {progress.batches}: loss {progress.loss:.3f}, overlap on the chats "
            f"{progress.overlap:.3f}, {progress.seconds:.0f} s"
        )

    written = train(pair, folder, plan, report)
    if options.format == OWN:
        say(f"the layers are in {written}; copy its files to assets/draft to make them the built-in draft")
    else:
        say(f"the head is in {written}; it is a draft as it is (--draft {written})")
    return 0


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say of the plan.

    Raises:
        SettingsError: for numbers that are not positive, or options of another format.
    """
    numbers = {"layers": options.layers, "batches": options.batches, "rate": options.rate, "steps": options.steps}
    numbers["vocabulary"] = options.draft_vocabulary
    numbers = {key: value for key, value in numbers.items() if value is not None}
    _check(min(numbers.values(), default=1) > 0, "layers, batches, rate, steps and draft vocabulary")
    eagle3 = {"own_embeddings": options.own_embeddings, "start": options.start or ""}
    if options.format == OWN:
        if {"steps", "vocabulary"} & numbers.keys() or any(eagle3.values()):
            raise SettingsError(
                "--draft-vocabulary, --steps, --own-embeddings and --start are for a head; add --format eagle3."
            )
        return numbers
    if options.start and ({"layers", "vocabulary"} & numbers.keys() or options.reads):
        raise SettingsError(
            "The head of --start has its own layers, reads and vocabulary; leave out --layers, --reads and "
            "--draft-vocabulary."
        )
    return numbers | eagle3 | {"format": options.format}


def measure_draft(options: argparse.Namespace) -> int:
    """Print how good the draft of a pair is, or several drafts of one target."""
    from specviz.compare.named import check_drafts, parse_drafts
    from specviz.models.one_target import OneTarget
    from specviz.train.quality import measure
    from specviz.train.several import several_table

    _check(min(options.shards, options.runs, options.max_new_tokens) >= 1, "shards, runs and new tokens")
    name, drafts = parse_drafts(options.drafts or [options.draft])
    check_drafts(drafts)
    pairs = OneTarget()
    measured = {}
    for label, draft in {one.label: one.draft for one in drafts}.items() or [("", name)]:
        if label:
            _say(f"draft {label}")
        measured[label] = measure(
            pairs.load(replace(ModelChoice.of(options), draft=draft), print_progress()),
            _folder(options),
            shards=options.shards,
            runs=options.runs,
            new_tokens=options.max_new_tokens,
            say=_say,
        )
    say(several_table(measured) if len(measured) > 1 else next(iter(measured.values())).table())
    return 0


def _layers(asked: str | None, pair: Any, *, own: bool) -> tuple[int, ...]:
    """The target's layers to read; by default those that the draft's own head reads, or none."""
    if asked is None:
        head = pair.draft_model.head if own else None
        return head.layers if head else ()
    if asked.strip().lower() in ("", "none"):
        return ()
    try:
        layers = tuple(int(part) for part in asked.split(","))
    except ValueError:
        raise SettingsError(f"--reads takes layers such as 20,30, or none; it was {asked!r}.") from None
    if not all(0 <= layer <= pair.target.layers for layer in layers):
        raise SettingsError(f"The target has hidden states 0 to {pair.target.layers}; choose --reads among them.")
    return layers


def _folder(options: argparse.Namespace) -> Path:
    from specviz.models.download_cache import cache_root

    return Path(options.folder) if options.folder else cache_root() / "draft-training"


def _check(fine: bool, what: str) -> None:
    if not fine:
        raise SettingsError(f"The numbers for {what} must be positive.")


def _say(text: str) -> None:
    say(text, file=sys.stderr, flush=True)
