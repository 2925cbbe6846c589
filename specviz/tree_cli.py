"""Options of all commands that draft a tree.

Not in the folder of the builders, whose import takes torch: ``--help`` needs none.
"""

from __future__ import annotations

import argparse

from specviz.trace.schema import Choice
from specviz.trace.settings import parse_pairs, tree_choice


def add_tree_arguments(parser: argparse.ArgumentParser) -> None:
    """The tree builder and its options."""
    parser.add_argument("--builder", help="k_config (default), explicit, dynamic, sequoia or prompt_lookup")
    parser.add_argument(
        "--tree",
        help="k_config: 4,2,2; explicit: '[0],[1],[0,0]', quoted, for shells have a use of their own for brackets",
    )
    parser.add_argument("--proposal", help="without_replacement (default), with_replacement or top_k")
    parser.add_argument(
        "--builder-option", action="append", default=[], metavar="NAME=VALUE", help="e.g. total=60 for dynamic"
    )


def chosen_tree(options: argparse.Namespace) -> Choice:
    """The tree builder and its options that the options of a command stand for."""
    return tree_choice(options.builder, options.tree, options.proposal, parse_pairs(options.builder_option, "builder"))
