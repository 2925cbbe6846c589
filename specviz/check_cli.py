"""``specviz check``: arguments, which verifiers with which options, and the table that is shipped.

Not in the folder of the verifiers, whose import takes torch: ``--help`` needs none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from specviz.arguments import Commands
from specviz.display import say
from specviz.errors import SettingsError

if TYPE_CHECKING:  # at run time they would import torch, even for --help
    from specviz.options import Options
    from specviz.processing import Processing
    from specviz.trace.schema import Choice
    from specviz.verifiers import Verifier
    from specviz.verifiers.check import Finding

    Job = tuple[Verifier, Options]

_TEXTS = {
    "exact": "every node's row is processed by the text on its path",
    "frozen": "all rows are processed by the committed text; measured against exact",
}
SHIPPED = "shipped"
"""Stands for the shipped table's own file."""


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``check``."""
    parser = commands.add_parser("check", help="prove by enumeration which verifiers are lossless")
    add_user_verifiers(parser)
    parser.add_argument(
        "--options",
        nargs="+",
        action="extend",
        default=[],
        metavar="VERIFIER",
        help="check these only, with these options: eta:epsilon=0.1, or a sweep eta:epsilon=0.1/0.2,delta=0.3/0.6",
    )
    parser.add_argument(
        "--tree",
        metavar="TREE",
        help="on this tree only, e.g. of a builder of your own: 2,1 or mine:depth=2",
    )
    parser.add_argument(
        "--processor",
        action="append",
        default=[],
        metavar="NAME:OPTION=VALUE",
        help="under a processor of the target, e.g. repetition_penalty:penalty=2: exact is checked, and how far frozen "
        "is from it; tokens are 0 to 2, and the last one stands for the end token",
    )
    parser.add_argument(
        "--write",
        nargs="?",
        const=SHIPPED,
        metavar="FILE",
        help="check the verifiers of this project with their defaults and a grid of options, and save the table of "
        "proofs that runs look up (default: the one that comes with specviz)",
    )
    parser.set_defaults(run=run)


def add_user_verifiers(parser: argparse.ArgumentParser) -> None:
    """``--verifier``, for every command that takes verifiers of the user's own."""
    parser.add_argument(
        "--verifier", action="append", default=[], metavar="MODULE:NAME", help="add a verifier of your own"
    )


def load_user_verifiers(options: argparse.Namespace) -> None:
    """Import and register what ``--verifier`` names."""
    from specviz.verifiers import load_verifier

    for spec in options.verifier:
        load_verifier(spec)


def run(options: argparse.Namespace) -> int:
    """The command. Returns 0, or 1 if a promise is broken.

    Raises:
        SettingsError: for an unknown verifier or tree, unfit options, or a table that cannot be saved.
    """
    from specviz.compare.named import parse_tree
    from specviz.verifiers import VERIFIERS
    from specviz.verifiers.check import check, check_tree, format_report

    if options.write is not None:
        if options.verifier or options.options or options.tree or options.processor:
            raise SettingsError(
                "--write is for our own verifiers; leave --verifier, --options, --processor and --tree out."
            )
        return _write(options.write)
    before = list(VERIFIERS.values())
    load_user_verifiers(options)
    tree = parse_tree(options.tree).choice if options.tree else None
    fine = True
    for mode in _modes(options.processor):
        if mode is not None:
            say(f"{mode.mode}: {_TEXTS[mode.mode]}", end="\n\n", flush=True)
        for group in _groups(options.options, before):
            found: list[Finding] = []
            for verifier, chosen in group:
                if tree:
                    found.append(check_tree(verifier, chosen, tree, mode))
                else:
                    found += check([verifier], {verifier.name: chosen}, processing=mode)
            if found:
                say(format_report(found), end="\n\n", flush=True)
                fine = fine and all(one.ok for one in found)
    return 0 if fine else 1


def _modes(given: list[str]) -> list[Processing | None]:
    """Under what the check is made: processors in both modes, or none."""
    from specviz.models.processors import About, load_named, make_processing
    from specviz.trace.processors import parse_processors

    processors = parse_processors(given)
    load_named(processors)
    # The root is all that is committed and counts as output, and V = 3 is the smaller of the toy models' vocabularies.
    found = make_processing(processors, About(0, frozenset({2}), 3, "cpu"))
    return [None] if found is None else [found] if found.reads_text is False else [found, found.other]


def _groups(asked: Iterable[str], before: list[Verifier]) -> Iterator[list[Job]]:
    """What is printed together, in this order."""
    from specviz.compare.named import parse_verifiers
    from specviz.verifiers import VERIFIERS, default_options

    if choices := [one.choice for text in asked for one in parse_verifiers(text)]:
        yield [_job(choice) for choice in choices]
        return
    # Whoever brings a verifier waits for that one, so it comes first.
    for group in ([one for one in VERIFIERS.values() if one not in before], before):
        yield [(verifier, default_options(verifier)) for verifier in group]


def _job(choice: Choice) -> Job:
    from specviz.verifiers import resolve_verifier

    return resolve_verifier(choice)


def _write(name: str) -> int:
    from specviz import __version__
    from specviz.verifiers import proof_table
    from specviz.verifiers.check import built_in_jobs, check, entry, format_report

    entries: list[proof_table.Entry] = []
    broken: list[Finding] = []
    for verifier, options in built_in_jobs():
        now = list(check([verifier], {verifier.name: options}))
        say(f"{now[0].verifier}: {', '.join(one.verdict for one in now)}", file=sys.stderr, flush=True)
        broken += [one for one in now if not one.ok]
        entries += [entry(verifier, one) for one in now]
    if broken:
        say(f"{format_report(broken)}\n\nNothing is saved.")
        return 1
    path = proof_table.TABLE if name == SHIPPED else Path(name)
    lines = ",\n".join(one.model_dump_json() for one in entries)  # one a line, so that changes can be read
    text = f'{{"specviz": {json.dumps(__version__)}, "proofs": [\n{lines}\n]}}\n'
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"The table cannot be saved to {str(path)!r} ({error.strerror}); choose another.") from None
    say(f"saved {path} ({len(entries)} proofs)")
    return 0
