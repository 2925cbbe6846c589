"""A loop that a page steps: ``python -m tests.tools.gated_loop RECORDING STEPS [raise]``.

It says each step's number once the step has ended, and at last ``stopped`` or ``done``.
"""

from __future__ import annotations

import argparse

from specviz.display import say
from specviz.errors import RecorderStopped
from specviz.recorder.recorder import Recorder

FIRST = 100
"""The token that the first step commits; each further one commits the next."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording")
    parser.add_argument("steps", type=int)
    parser.add_argument("gate", nargs="?", choices=("raise",), default=True)
    options = parser.parse_args(arguments)
    rec = Recorder(
        options.recording,
        prompt=[1, FIRST - 1],
        decode=lambda ids: "".join(f" {token}" for token in ids),
        gate=options.gate,
    )
    try:
        for number in range(options.steps):
            with rec.step() as step:
                token = FIRST + number
                step.tree([token - 1, token, 7], [-1, 0, 0])
                step.verify(accepted=[], bonus=token)
            say(number + 1, flush=True)
            if rec.stopped:
                break
    except RecorderStopped as stopped:
        say(stopped)
    rec.close()
    say("stopped" if rec.stopped else "done", flush=True)


if __name__ == "__main__":
    main()
