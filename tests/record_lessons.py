"""Record the run of the lesson "find the bug": ``python -m tests.record_lessons``. Writes ``assets/lessons``."""

from __future__ import annotations

from pathlib import Path

from specviz.engine import Session
from specviz.lessons import bug
from specviz.models.loading import load_pair
from specviz.trace import Choice, Sampling, Settings, Trace, save_trace
from tests import faults

FILE = Path(__file__).parents[1] / "assets" / "lessons" / "find-the-bug.json.gz"
PROMPT = "Tell a bedtime story about a snail that wants to see the sea."


def record(seed: int) -> Trace:
    """A run without compaction on a small tree."""
    settings = Settings(
        target=Sampling(temperature=1.0),
        builder=Choice(name="k_config", options={"tree": "3,2,1"}),
        verifiers=(Choice(name="rejection"), Choice(name="traversal")),
        driver="rejection",
        seed=seed,
        max_new_tokens=24,
        chat=True,
        audit=True,
    )
    with faults.no_compaction():
        session = Session(load_pair(), settings, PROMPT)
        list(session.run())
    return session.trace


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    trace = record(seed=3)
    save_trace(trace, FILE)
    print("\n".join(bug(trace).paragraphs))
