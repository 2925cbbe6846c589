"""Record the runs of specviz's own anew, after the default pair has changed: ``python -m tests.tools.record_assets``.

Every run in ``assets/traces`` is repeated with the prompt and the settings in its file. The one in ``assets/lessons``,
of the lesson "find the bug", is made without compaction.
"""

from __future__ import annotations

from specviz.engine.session import Session
from specviz.lessons.bug import LESSON
from specviz.models.loading import Pair, load_pair
from specviz.trace.io import load_trace, save_trace
from specviz.trace.schema import Choice, Sampling, Settings, Trace
from tests import faults
from tests.paths import ASSETS

FILE = ASSETS / "lessons" / "find-the-bug.json.gz"
PROMPT = "Tell a bedtime story about a snail that wants to see the sea."


def record(pair: Pair, settings: Settings, prompt: str) -> Trace:
    """A whole run."""
    session = Session(pair, settings, prompt)
    for _ in session.run():
        pass
    return session.trace


def record_bug(pair: Pair, seed: int) -> Trace:
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
        return record(pair, settings, PROMPT)


if __name__ == "__main__":
    pair = load_pair(device="cpu")
    for path in sorted((ASSETS / "traces").glob("*.json.gz")):
        known = load_trace(path)
        trace = record(pair, known.settings, known.prompt)
        save_trace(trace, path)
        print(f"{path.name}: {len(known.steps)} steps before, {len(trace.steps)} now")
    trace = record_bug(pair, seed=3)
    save_trace(trace, FILE)
    print("\n".join(LESSON.fill(trace).paragraphs))
