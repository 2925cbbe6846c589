"""What-if questions of the page: answered from the trace at once, by the models when a person asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from specviz.app import run_handlers
from specviz.app.answers import bounded
from specviz.app.server.limits import Limits
from specviz.app.server.session_registry import Sessions
from specviz.drafting import BuilderWork
from specviz.engine.work import StepWork
from specviz.errors import SettingsError, SpecvizError
from specviz.figures.whatif import alternative_value
from specviz.figures.whatif_types import OptionField, VerifierChoice, WhatIfValue
from specviz.models.pair_spec import ModelChoice
from specviz.options import option_kind
from specviz.trace.schema import Step, Trace
from specviz.trace.whatif_question import Question, compared_with, parse_question
from specviz.verifiers import VERIFIERS


def from_trace(trace: Trace, wanted: Any) -> str:
    """A block with the answer of the trace alone, or with the reason why it has none."""
    from specviz.engine.whatif import from_trace as ask

    try:
        position, question = _parse(trace, wanted)
        found = ask(trace, position, question)
        if isinstance(found, str):
            return _block(wanted, {"needs": found})
        return _block(wanted, _value(trace.steps[position], found, question))
    except SpecvizError as error:
        return _block(wanted, {"error": str(error)})
    except Exception as error:
        return run_handlers.failed(error)


def through_models(sessions: Sessions, trace: Trace, models: ModelChoice, wanted: Any) -> Iterator[str]:
    """Blocks: how loading goes, then the answer."""
    try:
        position, question = _parse(trace, wanted)
        trace.own_settings()  # another engine's run is refused before anything is loaded
        step = trace.steps[position]
        limits = sessions.limits
        limits.check_nodes(len(step.tree.nodes) - 1)
        limits.check_context(len(trace.prompt_tokens), step.context - len(trace.prompt_tokens))
        said = "Scoring the tree again …"
        asked = (_scored_again, limits, trace, position, question)
        found = yield from run_handlers.ask_models(sessions, models, trace, said, 2, *asked)
        yield _block(wanted, _value(step, found, question))
    except Exception as error:
        yield run_handlers.failed(error)


def _scored_again(pair: Any, limits: Limits, trace: Trace, position: int, question: Question) -> Any:
    """What the models answer, if this page has the memory for it. A recorded tree may be of any shape."""
    from specviz.engine.whatif import through_models as ask

    step = trace.steps[position]
    depths = {node.depth for node in step.tree.nodes if node.draft is not None}
    rows = sum(node.draft is not None for node in step.tree.nodes)
    nodes = len(step.tree.nodes) - 1
    work = StepWork(BuilderWork(len(depths), rows, nodes), nodes)
    limits.check_step(pair, step.context, work, "ask about a step with a smaller tree", "ask about an earlier step")
    return ask(pair, trace, position, question)


def verifier_choices() -> list[VerifierChoice]:
    """Every registered verifier with what its options are, for the page's form."""
    return [
        {
            "name": verifier.name,
            "summary": verifier.summary,
            "coins": verifier.comparison == "uniform < threshold",
            "options": [_option(name, info) for name, info in verifier.Options.model_fields.items()],
        }
        for verifier in VERIFIERS.values()
    ]


def _parse(trace: Trace, wanted: Any) -> tuple[int, Question]:
    position = wanted.get("step") if isinstance(wanted, Mapping) else None
    if not isinstance(position, int) or not 0 <= position < len(trace.steps):
        raise SettingsError("This step is not in the run; choose one that is shown.")
    return position, parse_question(wanted, trace.steps[position])


def _value(step: Step, found: Any, question: Question) -> WhatIfValue:
    return alternative_value(step, question, found, compared_with(step, question))


def _block(wanted: Any, value: Mapping[str, Any]) -> str:
    """The answer, with what the page needs to know which question it belongs to."""
    said = {key: wanted.get(key) for key in ("run", "step", "id")} if isinstance(wanted, Mapping) else {}
    echo = {
        key: value if isinstance(value, int) or (isinstance(value, str) and len(value) <= 64) else None
        for key, value in said.items()
    }
    return bounded({"whatif": {**echo, **value}})


def _option(name: str, info: FieldInfo) -> OptionField:
    kind = option_kind(info)
    return {
        "name": name,
        "kind": kind,
        "choices": list(get_args(info.annotation)) if kind == "choice" else None,
        "default": info.default,
        "note": info.description,
    }
