"""Options of all commands that sample: how logits become distributions. Temperatures of the target are each command's
own, because one of them takes several."""

from __future__ import annotations

import argparse

from specviz.trace.schema import Sampling


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Top-k, top-p and eta cutoff of the target, and the draft's temperature."""
    default = Sampling()
    parser.add_argument("--top-k", type=int, default=default.top_k, help="of the target; 0 keeps all tokens")
    parser.add_argument("--top-p", type=float, default=default.top_p, help="of the target; 1 keeps all tokens")
    parser.add_argument(
        "--eta-cutoff", type=float, default=default.eta_cutoff, help="eta sampling; not the eta verifier"
    )
    parser.add_argument("--draft-temperature", type=float, help="default: the target's, or 1 where that is 0")


def add_ends(parser: argparse.ArgumentParser) -> None:
    """What ends a text beside an end token: stop strings, and a least number of tokens."""
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="STRING",
        help="end the text with the token that completes this string; can be given several times",
    )
    parser.add_argument(
        "--min-new-tokens", type=int, default=0, help="tokens before which no end token or stop string ends the text"
    )


def add_processor_arguments(parser: argparse.ArgumentParser) -> None:
    """What processes logits by the text, by which text on a tree, and whether the draft's too."""
    parser.add_argument(
        "--processor",
        dest="processors",
        action="append",
        default=[],
        metavar="NAME:OPTION=VALUE",
        help="process logits by the text, e.g. repetition_penalty:penalty=1.2, suppress_tokens:tokens='5 17', or a "
        "LogitsProcessor of your own, my.module:MyClass:option=value",
    )
    parser.add_argument(
        "--processor-mode",
        choices=("exact", "frozen"),
        default="exact",
        help="exact: each node of a tree by the text on its path; frozen: all by the committed text",
    )
    parser.add_argument("--processor-draft", action="store_true", help="process the draft's logits likewise")
