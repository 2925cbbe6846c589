"""Comparing runs on the page: two of them, or one with plain greedy decoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from specviz.app import answers, run_handlers
from specviz.app.server.limits import Limits
from specviz.app.server.session_registry import Sessions
from specviz.drafting import BuilderWork
from specviz.engine.work import StepWork
from specviz.figures.block_types import ComparisonValue
from specviz.figures.diff import comparison_value
from specviz.models.pair_spec import ModelChoice
from specviz.trace.diff import PLAIN, Reference, compare
from specviz.trace.identity import caveats
from specviz.trace.schema import Models, Trace


def compare_runs(a: Trace, b: Trace, names: tuple[str, str]) -> ComparisonValue:
    """The comparison of two runs, as a block has it under ``compare``."""
    if names[0] == names[1]:
        names = (f"{names[0]} (A)", f"{names[1]} (B)")
    return comparison_value(compare(a, b, names))


class StopCondition:
    """Called after every token of a reference: True once its seconds are over, or if ``must_stop`` returns True.

    The seconds count from the first call. On ZeroGPU it is pickled and sent to another process: there only the seconds
    count, because ``must_stop`` asks this process.

    Attributes:
        met: whether the last call returned True.
    """

    def __init__(self, seconds: float, must_stop: Callable[[], bool] | None = None):
        self._seconds, self._must_stop = seconds, must_stop
        self._until: float | None = None
        self.met = False

    def __call__(self) -> bool:
        now = time.monotonic()
        self._until = now + self._seconds if self._until is None else self._until
        self.met = now > self._until or (self._must_stop is not None and self._must_stop())
        return self.met

    def __reduce__(self) -> tuple[Any, ...]:
        return StopCondition, (self._seconds,)


def _decoded(
    pair: Any, limits: Limits, trace: Trace, count: int, stop: StopCondition
) -> tuple[Reference, bool, Models]:
    """(up to ``count`` tokens of plain greedy decoding after a run's prompt, whether it was stopped before, models)."""
    from specviz.bench.greedy import plain_greedy

    lower = "choose a run of fewer tokens"
    limits.check_step(pair, len(trace.prompt_tokens) + count, StepWork(BuilderWork(0, 0, 0), 0), lower, lower)
    tokens, scores = plain_greedy(pair, list(trace.prompt_tokens), count, stop)
    texts = {token: pair.token_text(token) for token in tokens}
    reference = Reference(PLAIN, tuple(tokens), texts, tuple(scores), pair.models.both()[0])
    return reference, stop.met and len(tokens) < count, pair.models


def against_greedy(
    sessions: Sessions, page: str, trace: Trace, models: ModelChoice, title: str
) -> Generator[str, None, None]:
    """Yield blocks: the progress of loading, then the run beside transformers' own greedy decoding of its prompt.

    The reference writes as many tokens as the run has, one target forward a token, or fewer if it is stopped.
    """
    sessions.clear_stop(page)
    try:
        trace.own_settings()  # another engine's run is refused before anything is loaded
        sessions.limits.check_context(len(trace.prompt_tokens), len(trace.output_tokens()))
        count = max(1, len(trace.output_tokens()))
        said = f"Decoding {count} tokens greedily …"
        lock = sessions.backend.lock
        stop = StopCondition(sessions.limits.seconds, lambda: lock.must_end() or sessions.must_stop(page))
        asked = (_decoded, sessions.limits, trace, count, stop)
        reference, cut, by = yield from run_handlers.ask_models(sessions, models, trace, said, count, *asked)
        value: dict[str, Any] = {"compare": comparison_value(compare(trace, reference, (title, PLAIN)))}
        words = [f"Stopped after {len(reference.tokens)} of {count} tokens."] if cut else []
        if caveat := caveats(by, trace.models, ["target"]):
            words.append(caveat)
        if words:
            value["notice"] = answers.notice("info", " ".join(words))
        yield answers.bounded(value)
    except Exception as error:
        yield run_handlers.failed(error)
