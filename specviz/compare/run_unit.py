"""One unit of a comparison is one run: do it, make its rows, and pack them into the bytes of one small file."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from specviz.compare.divergence import Divergences
from specviz.compare.rows import TABLES, Row, Rows, columns_of, decision_rows, step_rows
from specviz.compare.spec import Comparison, Unit, known_verifiers, prompt_seed, settings_of
from specviz.compare.text_metrics import chrf, distinct, rouge_l
from specviz.engine.session import Session
from specviz.errors import NumericsError, OutOfMemoryError, SettingsError, SpecvizError
from specviz.models.loading import Pair
from specviz.models.processors import About, make_processing
from specviz.sampling import process
from specviz.trace.schema import ModelInfo, Models, Sampling, Settings, Step, text_of_tokens

FORMAT = 2


@dataclass(frozen=True)
class Result:
    """A finished unit: its rows, and the models that made them."""

    index: int
    models: Models
    rows: Rows

    @property
    def draft(self) -> str | None:
        """Label of the draft, see :class:`~specviz.compare.spec.Unit`."""
        label: str | None = self.rows.outputs[0]["draft_label"]
        return label


def run_unit(pair: Pair, comparison: Comparison, unit: Unit) -> Result:
    """Run a unit.

    What is wrong with one run (a prompt that is too long, a model that returns NaN) is an outcome like others: it is
    recorded with the steps before it.

    Raises:
        OutOfMemoryError: that is the machine's fault; the unit is not done.
    """
    *_, result = step_unit(pair, comparison, unit)
    assert result is not None
    return result


def step_unit(pair: Pair, comparison: Comparison, unit: Unit) -> Generator[Result | None, None, None]:
    """As :func:`run_unit`, yielding None after every step, so that several users can take turns with the same models,
    and the result at the end."""
    has_template = bool(getattr(pair.tokenizer, "chat_template", None))
    settings = settings_of(comparison, unit, has_template)
    session, message = None, None
    divergences = Divergences()
    try:
        session = Session(pair, settings, unit.prompt.text, known=known_verifiers(comparison))
        session.watch = divergences
        for _ in session.run():
            yield None
    except OutOfMemoryError:
        raise
    except SpecvizError as error:
        message = str(error)
    key = {
        "mode": unit.mode,
        "prompt_id": unit.prompt.id,
        "kind": unit.prompt.kind,
        "tree": unit.tree,
        "temperature": unit.temperature,
    }
    labels = {"draft_label": unit.draft, "processors_label": unit.processors}
    steps = [] if session is None else session.steps
    rows = Rows(
        [] if session is None else list(step_rows(key, labels, session.trace, divergences.found)),
        list(decision_rows(key, labels, steps)),
        [_output_row(key, pair, comparison, unit, settings, session, message) | labels],
    )
    yield Result(unit.index, pair.models, rows)


def _output_row(
    key: Row,
    pair: Pair,
    comparison: Comparison,
    unit: Unit,
    settings: Settings,
    session: Session | None,
    message: str | None,
) -> Row:
    steps: list[Step] = [] if session is None else session.steps
    prompt_tokens = () if session is None else session.prompt_tokens
    tokens = [token for step in steps for token in step.committed]
    quality: Row = dict.fromkeys(("nll", "nll_sampled", "distinct_1", "distinct_2", "rouge_l", "chrf"))
    if unit.mode == "free" and tokens:
        quality = _quality(pair, prompt_tokens, tokens, settings, unit.prompt.reference)
    return key | {
        "verifier": unit.verifier or comparison.driver,
        "seed": prompt_seed(comparison.seed, unit.prompt.id),
        "chat": settings.chat,
        "prompt": unit.prompt.text,
        "reference": unit.prompt.reference,
        "prompt_tokens": len(prompt_tokens),
        "steps": len(steps),
        "tokens": tokens,
        "text": text_of_tokens([pair.token_text(token) for token in tokens]),
        "end_reason": "error" if session is None or message else session.end_reason,
        "message": message,
        **quality,
        "target": named(pair.target.info),
        "draft": named(pair.draft.info),
    }


def _quality(pair: Pair, prompt: Sequence[int], tokens: list[int], settings: Settings, reference: str | None) -> Row:
    nll, nll_sampled = negative_log_likelihood(pair, [*prompt, *tokens], len(tokens), settings)
    told = tokens[:-1] if tokens[-1] in pair.eos_ids else tokens
    text = text_of_tokens([pair.token_text(token) for token in told])
    return {
        "nll": nll,
        "nll_sampled": nll_sampled,
        "distinct_1": distinct(told, 1),
        "distinct_2": distinct(told, 2),
        "rouge_l": rouge_l(text, reference),
        "chrf": chrf(text, reference),
    }


def negative_log_likelihood(
    pair: Pair, tokens: list[int], count: int, settings: Settings
) -> tuple[float | None, float | None]:
    """Of the last ``count`` tokens under the target, in nats: (at temperature 1, as it was sampled from).

    Processors count by the whole text before each token, whatever the mode is. None where it is infinite: the text
    has a token that the distribution excludes.
    """
    # The last token of a full context has no position; it is only predicted, never fed.
    ids = torch.tensor([tokens[:-1]], device=pair.target.device)
    with torch.inference_mode():
        logits = pair.target.model(input_ids=ids, use_cache=False).logits[0, -count:].float()
        wanted = torch.tensor(tokens[-count:], device=logits.device)[:, None]
        # Where the temperature is 1 and nothing is truncated the two are the same sum.
        about = About(len(tokens) - count, pair.eos_ids, pair.target.vocabulary, str(pair.target.device))
        processing = make_processing(settings.processors, about)
        if processing is None:
            sampled = process(logits, settings.target)
        else:
            exact = replace(processing, mode="exact")
            before, output = tokens[:-count], tokens[-count:]
            stuck: dict[int, NumericsError] = {}
            sampled = exact.rows(logits, before, [output[:i] for i in range(count)], settings.target, stuck)
            sampled[list(stuck)] = 0.0  # a frozen run may go on where no token is allowed
        rows = (process(logits, Sampling()), sampled)
        sums = [-float(one.gather(-1, wanted).double().log().sum()) for one in rows]
    first, second = (value if math.isfinite(value) else None for value in sums)
    return first, second


def named(model: ModelInfo) -> str:
    """``id@revision``, or the id where there is no revision."""
    return f"{model.id}@{model.revision}" if model.revision else model.id


# ------------------------------------------------------------------------------------------------------ packing


def pack(result: Result) -> bytes:
    """A result as gzipped JSON: columns once, then rows as lists."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "unit": result.index,
        "models": result.models.model_dump(mode="json"),
        "tables": {
            name: {"columns": list(columns), "rows": [[row[c] for c in columns] for row in result.rows.table(name)]}
            for name, columns in TABLES.items()
        },
    }
    return gzip.compress(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"), 5, mtime=0)


def unpack(data: bytes) -> Result:
    """The result that was packed.

    Raises:
        SettingsError: if these are not the bytes of one, or of another version's.
    """
    try:
        content = json.loads(gzip.decompress(data))
        if content["format"] != FORMAT:
            raise KeyError("format")
        tables = {}
        for name in TABLES:
            table = content["tables"][name]
            columns = columns_of(name, table["columns"])
            if columns is None:
                raise KeyError(name)
            empty = dict.fromkeys(TABLES[name])
            tables[name] = [empty | dict(zip(columns, row, strict=True)) for row in table["rows"]]
        return Result(content["unit"], Models.model_validate_json(json.dumps(content["models"])), Rows(**tables))
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"This is not a finished unit of a comparison ({type(error).__name__}).") from None
