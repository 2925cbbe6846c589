"""``specviz``, or ``python -m specviz``: serve the page, record a run, export it, prove, compare, measure, plan."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specviz.app import cli as app_cli
from specviz.bench import cli as bench_cli
from specviz.compare import cli as compare_cli
from specviz.compare import lm_eval_cli
from specviz.engine.record import record as record_run
from specviz.errors import RecordingInterrupted, SettingsError, SpecvizError, shown
from specviz.models import plan_cli
from specviz.models.pair_spec import ModelChoice, add_arguments, pair_names
from specviz.trace.breakpoints import SHORT, Hit, hits, parse_short
from specviz.trace.schema import Choice, Option, Step
from specviz.trace.settings import parse_pairs, tree_choice
from specviz.train import cli as train_cli
from specviz.verifiers import cli as verifiers_cli

if TYPE_CHECKING:  # at run time it would import torch, even for --help
    from specviz.models.download_cache import ProgressCallback
    from specviz.models.loading import Pair

RECORD_DEFAULTS = {
    name: one.default for name, one in inspect.signature(record_run).parameters.items() if name != "prompt"
}
"""Of the command, too: the function's signature is where they stand."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0 fine, 1 a check failed, 2 an error the user can act on, 130 interrupted.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        _choose_pair(options)
        return int(options.run(options))
    except SpecvizError as error:
        print(f"specviz: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("specviz: stopped", file=sys.stderr)
        return 130


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command. What follows ``lm-eval`` is left for lm-eval to read."""
    own = arguments[:1] if arguments[:1] == [lm_eval_cli.NAME] else arguments
    options = _parser().parse_args(own)
    options.rest = arguments[len(own) :]
    return options


def _parser() -> argparse.ArgumentParser:
    name = "specviz" if Path(sys.argv[0]).stem == "specviz" else "python -m specviz"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    app = commands.add_parser("app", help="serve the page")
    app_cli.add_arguments(app)
    app.set_defaults(run=app_cli.run)

    record = commands.add_parser("record", help="run a speculative decode and save its trace")
    record.add_argument("--prompt", required=True, help="text to continue, or the user's message with --chat")
    record.add_argument("--chat", action="store_true", help="wrap the prompt in the target's chat template")
    compare_cli.add_prompt_end(record)
    _add_tree(record)
    _add_sampling(record)
    add_arguments(record)
    _add_user_verifiers(record)
    verifiers = RECORD_DEFAULTS["verifiers"]
    record.add_argument("--verifiers", default=verifiers, help=f"comma-separated (default {verifiers})")
    record.add_argument(
        "--verifier-option", action="append", default=[], metavar="NAME.OPTION=VALUE", help="e.g. eta.epsilon=0.2"
    )
    record.add_argument("--driver", help="the verifier whose verdict is committed (default: the first)")
    record.add_argument("--seed", type=int, default=RECORD_DEFAULTS["seed"])
    record.add_argument("--max-new-tokens", type=int, default=RECORD_DEFAULTS["max_new_tokens"])
    record.add_argument("--audit", action="store_true", help="compare both caches with a recompute after every step")
    record.add_argument(
        "--until",
        action="append",
        default=[],
        metavar="BREAKPOINT",
        help="stop after the first step in which " + "; ".join(f"{name}: {what}" for name, what in SHORT.items()),
    )
    record.add_argument("-o", "--output", default="trace.json.gz", help="file to write (default trace.json.gz)")
    record.set_defaults(run=_record)

    export = commands.add_parser("export", help="write a trace as one HTML file that opens without a server or network")
    export.add_argument("trace", help="a trace file, .json or .json.gz")
    export.add_argument("-o", "--output", help="file to write (default: the trace's name with .html)")
    export.set_defaults(run=_export)

    diff = commands.add_parser("diff", help="where two runs part, and what that means: rounding, luck or a fault")
    diff.add_argument("a", help="a trace file")
    diff.add_argument("b", help="another one")
    diff.set_defaults(run=_diff)

    check = commands.add_parser("check", help="prove by enumeration which verifiers are lossless")
    _add_user_verifiers(check)
    verifiers_cli.add_arguments(check)
    check.set_defaults(run=verifiers_cli.run)

    greedy = commands.add_parser("greedy", help="compare with transformers' own greedy decoding, token for token")
    add_arguments(greedy)
    greedy.add_argument("--prompts", type=_positive, default=20, help="how many prompts (default 20)")
    greedy.add_argument("--max-new-tokens", type=_positive, default=32)
    greedy.set_defaults(run=_greedy)

    bench = commands.add_parser("bench", help="measure speed, memory and trace size; see docs/bench.md")
    add_arguments(bench)
    bench_cli.add_arguments(bench, _positive)
    bench.set_defaults(run=partial(bench_cli.run, load_pair=_load_pair))

    compare = commands.add_parser(
        "compare", help="run verifiers, trees and temperatures over many prompts; rows in Parquet"
    )
    add_arguments(compare)
    _add_user_verifiers(compare)
    compare_cli.add_arguments(compare)
    compare.set_defaults(run=_compare)

    commands.add_parser(
        lm_eval_cli.NAME, help="lm-eval's command line with the model specviz; see docs/lm-eval.md", add_help=False
    ).set_defaults(run=lambda options: lm_eval_cli.run(options.rest))

    train = commands.add_parser("train-draft", help="distil a draft from a target, on chats the target writes")
    add_arguments(train)
    train_cli.add_train_arguments(train)
    train.set_defaults(run=partial(train_cli.train_draft, load_pair=_load_pair))

    measure = commands.add_parser(
        "measure-draft", help="how well a draft foresees its target, and what trees make of it"
    )
    add_arguments(measure)
    train_cli.add_measure_arguments(measure)
    measure.set_defaults(run=partial(train_cli.measure_draft, load_pair=_load_pair))

    plan = commands.add_parser("plan", help="say what a pair needs and whether it fits, without loading it")
    add_arguments(plan)
    _add_tree(plan)
    plan.add_argument("--context", type=_positive, default=2048, help="tokens of prompt and output (default 2048)")
    plan.add_argument(
        "--device-memory", metavar="SIZE", help="of a card to plan for, e.g. 16GB (default: what is free)"
    )
    plan.set_defaults(run=_plan)

    models = commands.add_parser("models", help="list the presets: pairs, licences, what they need")
    models.set_defaults(run=_models)
    return parser


def _add_tree(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--builder", help="k_config (default), explicit, dynamic, sequoia or prompt_lookup")
    parser.add_argument("--tree", help="k_config: 4,2,2; explicit: [0],[1],[0,0]")
    parser.add_argument("--proposal", help="without_replacement (default), with_replacement or top_k")
    parser.add_argument(
        "--builder-option", action="append", default=[], metavar="NAME=VALUE", help="e.g. total=60 for dynamic"
    )


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    default = RECORD_DEFAULTS
    parser.add_argument("--temperature", type=float, default=default["temperature"], help="of the target; 0 is greedy")
    parser.add_argument("--top-k", type=int, default=default["top_k"])
    parser.add_argument("--top-p", type=float, default=default["top_p"])
    parser.add_argument(
        "--eta-cutoff", type=float, default=default["eta_cutoff"], help="eta sampling; not the eta verifier"
    )
    parser.add_argument("--draft-temperature", type=float, help="default: the target's, or 1 where that is 0")
    parser.add_argument("--draft-top-k", type=int, default=default["draft_top_k"])
    parser.add_argument("--draft-top-p", type=float, default=default["draft_top_p"])


def _add_user_verifiers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verifier", action="append", default=[], metavar="MODULE:NAME", help="add a verifier of your own"
    )


def _positive(text: str) -> int:
    """For argparse: a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _tree_choice(options: argparse.Namespace) -> Choice:
    """The tree builder and its options that the options of a command stand for."""
    return tree_choice(options.builder, options.tree, options.proposal, parse_pairs(options.builder_option, "builder"))


def _record_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the options of ``record`` are as keyword arguments of the function."""
    given = {name: getattr(options, name) for name in RECORD_DEFAULTS if hasattr(options, name)}
    verifier_options: dict[str, dict[str, Option]] = {}
    for name, value in parse_pairs(options.verifier_option, "verifier").items():
        verifier, dot, option = name.partition(".")
        if not dot:
            raise SettingsError(f"The verifier option {shown(name)} is not of the form verifier.option=value.")
        verifier_options.setdefault(verifier, {})[option] = value
    return given | {
        "builder_options": parse_pairs(options.builder_option, "builder"),
        "verifier_options": verifier_options,
    }


def _record(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from specviz.trace.io import save_trace
    from specviz.trace.summary import summary

    _load_user_verifiers(options)
    output = Path(options.output)
    if not output.parent.is_dir():
        raise SettingsError(f"There is no folder {str(output.parent)!r} to save the trace in; create it first.")
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise SettingsError(f"The trace cannot be saved to {str(output)!r}; name a file in a folder you can write to.")
    until = parse_short(options.until)
    failure: SpecvizError | None = None
    reached: list[Hit] = []
    with contextlib.ExitStack() as stack:
        bars: list[Any] = []

        def on_step(step: Step) -> None:
            if not bars:  # not before: loading the models has messages of its own
                bars.append(tqdm(total=options.max_new_tokens, unit=" tokens", file=sys.stderr, leave=False))
                stack.callback(bars[0].close)
            bars[0].update(len(step.committed))

        try:
            trace = record_run(options.prompt, **_record_arguments(options), progress=_progress(), on_step=on_step)
            reached = hits(trace, len(trace.steps) - 1, until) if until else []
        except RecordingInterrupted as stopped:
            trace = stopped.trace
            print("\nstopped; saving what was recorded", file=sys.stderr)
        except SpecvizError as error:
            if error.trace is None:
                raise
            trace, failure = error.trace, error
    save_trace(trace, output)
    print(summary(trace))
    for hit in reached:
        print(f"\nstopped at step {hit.position + 1}: {hit.reason}")
    print(f"\nsaved {output} ({output.stat().st_size / 1e3:.0f} kB, {len(trace.steps)} steps)")
    if failure is not None:
        raise failure
    return 0


def _diff(options: argparse.Namespace) -> int:
    from specviz.figures.diff import format_comparison
    from specviz.trace.diff import compare
    from specviz.trace.io import load_trace

    print(format_comparison(compare(load_trace(options.a), load_trace(options.b), (options.a, options.b))))
    return 0


def _export(options: argparse.Namespace) -> int:
    from specviz.figures.export import save_page
    from specviz.trace.io import load_trace

    trace = load_trace(options.trace)
    name = options.trace.removesuffix(".gz").removesuffix(".json")
    output = Path(options.output or f"{name}.html")
    save_page(trace, output)
    print(f"saved {output} ({output.stat().st_size / 1e6:.1f} MB, {len(trace.steps)} steps)")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from specviz.compare.report.html_report import comparison_page

    return compare_cli.run(options, comparison_page)


def _greedy(options: argparse.Namespace) -> int:
    from specviz.bench.greedy import compare_with_generate, tell

    return 0 if tell(compare_with_generate(_load_pair(options), options.prompts, options.max_new_tokens)) else 1


def _plan(options: argparse.Namespace) -> int:
    return plan_cli.run(options, _tree_choice(options), _progress())


def _models(_options: argparse.Namespace) -> int:
    from specviz.models.planning import presets_text

    print(presets_text())
    return 0


def _choose_pair(options: argparse.Namespace) -> None:
    """Fill in the names of target and draft, where a command has them: as given, the preset's, or the default pair."""
    if hasattr(options, "preset"):
        options.target, options.draft = pair_names(options.preset, options.target, options.draft)


def _load_pair(options: argparse.Namespace) -> Pair:
    return ModelChoice.of(options).load(_progress())


def _progress() -> ProgressCallback:
    """Says every new message once."""
    said = ""

    def progress(message: str, _fraction: float | None) -> None:
        nonlocal said
        if message != said:
            print(message, file=sys.stderr, flush=True)
            said = message

    return progress


def _load_user_verifiers(options: argparse.Namespace) -> None:
    from specviz.verifiers import load_verifier

    for spec in options.verifier:
        load_verifier(spec)


if __name__ == "__main__":
    sys.exit(main())
