"""A process that reads one file of a stranger's, or writes a large page, with limits on its memory and time.

``python -m specviz.app.server.reading_process WHAT BYTES ARGUMENT ...`` writes its answer to the standard output.
:class:`~specviz.app.server.readers.Readers` starts it. No torch and no gradio are imported, so it starts in 0.2 s.

What comes back is data, not objects: pickled values of our own would be as safe, and are no cheaper to make (45 ms for
a megabyte of a trace, 37 ms from its JSON).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from specviz.errors import SpecvizError

REFUSED, NO_MEMORY = 3, 4
"""Exit codes: the file was refused, with the sentence as the answer; its memory was not enough."""
BASE_BYTES = 700 * 1024 * 1024
"""Address space that the process takes before it reads anything: 60 MB, and 400 MB with the libraries for Parquet."""
CPU_SECONDS = 60


def read_traces(path: str, most_bytes: str) -> Iterator[bytes]:
    """Of each run of a file, how much is in it, as JSON in a line, then the trace, packed, in ``bytes`` bytes."""
    from specviz.app.server.trace_store import StoredTrace, pack
    from specviz.trace import io

    for trace in io.read_traces(path, max_bytes=int(most_bytes)):
        stored, packed = StoredTrace(trace), pack(trace)
        said = {"bytes": len(packed), "steps": stored.steps, "tokens": stored.tokens, "size": stored.size}
        yield json.dumps(said).encode() + b"\n" + packed


def read_comparison(into: str, *paths: str) -> Iterator[bytes]:
    """Copy a comparison's files, checked, into an empty folder: lines of JSON with the sums of its runs and how much is
    done."""
    from specviz.compare.read import tallies_of
    from specviz.compare.received import look_through, take_files

    take_files([Path(path) for path in paths], Path(into))
    look_through(Path(into))
    for done, tallies in tallies_of(Path(into)):
        yield json.dumps({"done": done, "tallies": [asdict(tally) for tally in tallies]}).encode() + b"\n"


def write_page(packed: str, into: str, go: str, alone: str) -> Iterator[bytes]:
    """Write the HTML page of a packed trace, which opens on the step at ``go``; of that step only if ``alone`` is 1."""
    from specviz.app.server.limits import SAVED_PAGE_BYTES
    from specviz.app.server.trace_store import unpack
    from specviz.figures import export

    trace = unpack(Path(packed).read_bytes())
    export.write_page(trace, Path(into), go=int(go), alone=alone == "1", most_bytes=SAVED_PAGE_BYTES)
    yield b""


WORK: dict[str, Callable[..., Iterator[bytes]]] = {
    "trace": read_traces,
    "comparison": read_comparison,
    "page": write_page,
}


def limit_memory(size: int) -> None:
    """Let this process have no more address space than that, and lower its priority; where the system can do that."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in ((resource.RLIMIT_AS, size), (resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # nobody may raise that one
        with contextlib.suppress(OSError, ValueError):  # macOS knows no limit on address space
            resource.setrlimit(kind, (most, most))
    os.nice(5)  # who clicks goes first


def main(what: str, size: str, *arguments: Any) -> int:
    limit_memory(BASE_BYTES + int(size))
    out = sys.stdout.buffer
    try:
        for part in WORK[what](*arguments):
            out.write(part)
            out.flush()
    except SpecvizError as error:
        out.write(json.dumps({"refused": str(error)}).encode() + b"\n")
        return REFUSED
    except OSError as error:  # its words name a folder of this machine
        out.write(json.dumps({"errno": error.errno or 0}).encode() + b"\n")
        return REFUSED
    except MemoryError:
        return NO_MEMORY
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # taking a large trace apart takes as long as reading it
