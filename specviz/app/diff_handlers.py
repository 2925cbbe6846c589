"""Comparing runs on the page: two of them, or one with plain greedy decoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

from specviz.app import run_handlers
from specviz.app.server.session_registry import Sessions
from specviz.figures import dump_block
from specviz.figures.diff import comparison_value
from specviz.models.pair_spec import ModelChoice
from specviz.trace.diff import PLAIN, Reference, compare
from specviz.trace.identity import caveats
from specviz.trace.schema import Models, Trace


def compare_runs(a: Trace, b: Trace, names: tuple[str, str]) -> dict[str, Any]:
    """The comparison of two runs, as a block has it under ``compare``."""
    if names[0] == names[1]:
        names = (f"{names[0]} (A)", f"{names[1]} (B)")
    return comparison_value(compare(a, b, names))


class Patience:
    """Says when it is enough: so many seconds after it was first asked, or when ``must_stop`` says so.

    What goes to another process, on ZeroGPU, takes the seconds along; nobody can stop it there.

    Attributes:
        over: whether it has said so.
    """

    def __init__(self, seconds: float, must_stop: Callable[[], bool] | None = None):
        self._seconds, self._must_stop = seconds, must_stop
        self._until: float | None = None
        self.over = False

    def __call__(self) -> bool:
        now = time.monotonic()
        self._until = now + self._seconds if self._until is None else self._until
        self.over = now > self._until or (self._must_stop is not None and self._must_stop())
        return self.over

    def __reduce__(self) -> tuple[Any, ...]:
        return Patience, (self._seconds,)


def _decoded(pair: Any, trace: Trace, count: int, enough: Patience) -> tuple[Reference, bool, Models]:
    """The prompt of a run and so many tokens, decoded greedily, whether there would be more, and by what."""
    from specviz.bench.greedy import plain_greedy

    tokens, scores = plain_greedy(pair, list(trace.prompt_tokens), count, enough)
    texts = {token: pair.token_text(token) for token in tokens}
    reference = Reference(PLAIN, tuple(tokens), texts, tuple(scores), pair.models.target)
    return reference, enough.over and len(tokens) < count, pair.models


def against_greedy(
    sessions: Sessions, page: str, trace: Trace, models: ModelChoice, title: str
) -> Generator[str, None, None]:
    """Yield blocks: the progress of loading, then the run beside transformers' own greedy decoding of its prompt.

    The reference writes as many tokens as the run has, one target forward a token, or fewer if it is stopped.
    """
    sessions.clear_stop(page)
    try:
        sessions.limits.check_context(len(trace.prompt_tokens), len(trace.output_tokens()))
        count = max(1, len(trace.output_tokens()))
        said = f"Decoding {count} tokens greedily …"
        lock = sessions.backend.lock
        enough = Patience(sessions.limits.seconds, lambda: lock.must_end() or sessions.must_stop(page))
        asked = (_decoded, trace, count, enough)
        reference, cut, by = yield from run_handlers.ask_models(sessions, models, trace, said, count, *asked)
        value: dict[str, Any] = {"compare": comparison_value(compare(trace, reference, (title, PLAIN)))}
        words = [f"Stopped after {len(reference.tokens)} of {count} tokens."] if cut else []
        if caveat := caveats(by, trace.models, ["target"]):
            words.append(caveat)
        if words:
            value["notice"] = run_handlers.notice("info", " ".join(words))
        yield dump_block(value)
    except Exception as error:
        yield run_handlers.failed(error)
