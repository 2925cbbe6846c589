"""What specviz costs over the bare forwards."""

from __future__ import annotations

from statistics import median

from specviz.engine import Session
from specviz.metrics import overhead
from specviz.models.loading import Pair
from specviz.trace import Choice, Settings, Step
from specviz.verifying import VERIFIERS

TREES = {
    "4,2,2 (28 nodes)": Choice(name="k_config", options={"tree": "4,2,2"}),
    "chain of 4": Choice(name="k_config", options={"tree": "1,1,1,1"}),
    "dynamic (60 nodes)": Choice(name="dynamic", options={}),
}
PROMPT = "Tell a bedtime story about a snail that wants to see the sea."


def overhead_table(pair: Pair, steps: int) -> str:
    """Median milliseconds of each phase and the share outside the forwards, all verifiers recording.

    The trees take turns step by step, so that a slow moment of the machine meets all of them.
    """
    names = [name for name in VERIFIERS if name != "greedy"] + ["greedy"]
    sessions = {}
    for tree, choice in TREES.items():
        settings = Settings(
            builder=choice,
            verifiers=tuple(Choice(name=name) for name in names),
            driver="rejection",
            max_new_tokens=10_000,
        )
        sessions[tree] = Session(pair, settings, PROMPT)
    recorded: dict[str, list[Step]] = {tree: [] for tree in sessions}
    for turn in range(steps + 2):
        for tree, session in sessions.items():
            if session.end_reason is None:
                step = session.step()
                if turn >= 2:  # the first steps warm the machine up
                    recorded[tree].append(step)
    phases = ("draft", "target", "build", "verify", "commit", "record")
    lines = [f"{'tree':<22}{'steps':>6}" + "".join(f"{phase:>9}" for phase in phases) + "  outside the forwards"]
    for tree, done in recorded.items():
        if not done:
            continue
        times = "".join(f"{1e3 * median(getattr(s.timings, phase) for s in done):>7.1f}ms" for phase in phases)
        shares = sorted(overhead(step) for step in done)
        share = f"{median(shares):.0%} (from {shares[0]:.0%} to {shares[-1]:.0%})"
        lines.append(f"{tree:<22}{len(done):>6}{times}  {share}")
    return "\n".join(lines)
