"""What the command lines of all subjects share."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction
"""The commands of a parser. Every ``cli.py`` has ``add_commands``, which adds those of its subject."""


def positive(text: str) -> int:
    """For argparse: a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
