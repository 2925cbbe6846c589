"""A process that is killed while it records leaves a file that opens up to its last whole step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from specviz.trace.recording import read_recording
from tests.paths import ROOT

WRITE = """
import os, random, signal, sys, time
from pathlib import Path
from specviz.recorder.recorder import Recorder

luck, folder = random.Random(7), Path(sys.argv[1])
for number in range(20):
    path = folder / f"{number}.jsonl"
    child = os.fork()
    if child == 0:
        rec = Recorder(path, prompt=[1, 2], decode=lambda ids: "x" * 500, strict=True)
        i, parent = 2, os.getppid()
        while os.getppid() == parent:  # not on and on where the test itself was ended
            i += 1
            with rec.step() as step:
                step.tree([2, 3, 4, i], [-1, 0, 0, 1])
                step.verify(accepted=[1, 3], bonus=i)
    while (not path.exists() or path.stat().st_size < 3000) and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(luck.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_kill_at_20_random_moments(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], cwd=ROOT, check=True, timeout=120)
    counts = []
    for number in range(20):
        data = (tmp_path / f"{number}.jsonl").read_bytes()
        trace = read_recording(data)
        assert trace.output_tokens() == [token for i in range(3, 3 + len(trace.steps)) for token in (3, i, i)]
        assert 0 <= len(trace.steps) - (data.count(b"\n") - 2) <= 1  # header and run; a last line may lack its end
        counts.append(len(trace.steps))
    assert min(counts) > 0
    assert len({*counts}) > 5
