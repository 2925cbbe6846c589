"""``specviz audit`` and ``specviz import`` on the command line."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from specviz.arguments import Commands
from specviz.display import say
from specviz.models.choices import DTYPES

if TYPE_CHECKING:  # at run time they would import numpy and more, even for --help
    from specviz.recorder.findings import Finding, NotRun
    from specviz.trace.schema import Trace


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``audit`` and ``import``."""
    audit = commands.add_parser("audit", help="say what is wrong with a recorded run, of any engine")
    audit.add_argument("file", help="a recording (.jsonl) or a trace")
    audit.add_argument("--request", metavar="NAME", help="of a batch this one only (default: all)")
    audit.add_argument("--target", metavar="MODEL", help="recompute the target's rows with it, as record takes it")
    audit.add_argument("--draft", metavar="MODEL", help="the same for the draft")
    audit.add_argument("--dtype", default="auto", choices=DTYPES, help="to load them in (default: as was recorded)")
    audit.add_argument("--json", action="store_true", help="print JSON")
    audit.set_defaults(run=run)

    bring = commands.add_parser("import", help="make a recording of what an engine has printed")
    bring.add_argument(
        "kind", choices=("llama-log", "jsonl"), help="llama.cpp's verbose log, or docs/engines.md's lines"
    )
    bring.add_argument("file", help="what was printed")
    bring.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the recording (.jsonl), replaced if it exists"
    )
    bring.set_defaults(run=run_import)


def run(options: argparse.Namespace) -> int:
    """Audit each request of the file. Returns 1 where an error or a warning was found.

    Raises:
        SpecvizError: for a file or a model that cannot be read.
    """
    from specviz.recorder.audit import audit, fails
    from specviz.recorder.findings import report

    found = {
        name: audit(trace, options.target, options.draft, dtype=options.dtype)
        for name, trace in _requests(options.file, options.request).items()
    }
    if options.json:
        runs = [{"request": name, "findings": [_json(one) for one in run]} for name, run in found.items()]
        say(json.dumps(runs, ensure_ascii=False, indent=1))
    else:
        for name, run in found.items():
            say(("" if name is None else f"request {name}\n") + report(run), end="\n\n" if len(found) > 1 else "\n")
    return int(any(fails(run) for run in found.values()))


def run_import(options: argparse.Namespace) -> int:
    """Write a recording of a printed file.

    Raises:
        SpecvizError: for a file that cannot be read, is none, or a recording that cannot be written.
    """
    from specviz.recorder.imported import import_printed
    from specviz.recorder.llama_log import import_llama_log
    from specviz.trace.recording import file_bytes

    data = file_bytes(options.file)
    steps = (import_llama_log if options.kind == "llama-log" else import_printed)(data, options.output)
    say(f"{steps} step{'' if steps == 1 else 's'} in {options.output}")
    return 0


def _requests(file: str, request: str | None) -> dict[str | None, Trace]:
    from specviz.trace.io import load_trace
    from specviz.trace.recording import read_recordings

    trace = load_trace(file, request=request)
    return {request: trace} if request is not None or trace.request is None else read_recordings(file)


def _json(one: Finding | NotRun) -> dict[str, object]:
    from specviz.recorder.findings import Finding

    return asdict(one) if isinstance(one, Finding) else {"weight": "not run", **asdict(one)}
