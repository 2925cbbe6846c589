"""Comparing runs on the page: two of them, or one with plain greedy decoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from specviz.comparing import Reference, compare
from specviz.figures import dump_block
from specviz.figures.comparisons import comparison_value
from specviz.models.choice import ModelChoice
from specviz.trace import Trace
from specviz.ui import runs
from specviz.ui.sessions import Sessions

PLAIN = "plain greedy decoding"


def compare_runs(a: Trace, b: Trace, names: tuple[str, str]) -> dict[str, Any]:
    """What a block carries as ``compare``."""
    if names[0] == names[1]:
        names = (f"{names[0]} (A)", f"{names[1]} (B)")
    return comparison_value(compare(a, b, names))


def _decoded(pair: Any, trace: Trace, count: int) -> Reference:
    """The prompt of a run and so many tokens, decoded greedily."""
    from specviz.experiments.greedy import plain_greedy

    tokens, margins = plain_greedy(pair, list(trace.prompt_tokens), count)
    texts = {token: pair.token_text(token) for token in tokens}
    return Reference(PLAIN, tuple(tokens), texts, tuple(margins))


def against_greedy(sessions: Sessions, trace: Trace, models: ModelChoice, title: str) -> Iterator[str]:
    """Blocks: how loading goes, then the run beside transformers' own greedy decoding of its prompt.

    The reference writes as many tokens as the run has, one target forward a token.
    """
    try:
        sessions.limits.check_context(len(trace.prompt_tokens), len(trace.output_tokens()))
        count = max(1, len(trace.output_tokens()))
        said = f"Decoding {count} tokens greedily …"
        reference = yield from runs.ask_models(sessions, models, trace, said, count, _decoded, trace, count)
        yield dump_block({"compare": comparison_value(compare(trace, reference, (title, PLAIN)))})
    except Exception as error:
        yield runs.failed(error)
