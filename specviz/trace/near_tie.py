"""What it means that two runs write different tokens: the one place that calls it a near tie or a real difference.

Greedy decoding is a function of the target and the tokens before, so two greedy runs of one target differ by rounding
or by a fault. A sampled step is a function of models, settings, seed, tokens before and its number; where one of these
is not the same, the runs differ by chance, and nothing can be concluded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from specviz.trace.identity import same_weights
from specviz.trace.processors import written as written_processors
from specviz.trace.schema import ModelInfo, Models, Row, Settings, Step, Trace

NEAR_TIE = {"float64": 1e-9, "float32": 1e-3, "float16": 5e-2, "bfloat16": 0.25}
"""Margin in logits under which the order of two tokens can be rounding, by number format.

Logits are of the order of 10 to 30, summed over some hundred products: float32 forwards of other shapes differ by 1e-5
to 1e-4 in them, float16 by about 1e-2, bfloat16 (8 bits) by 0.05 to 0.2. Each limit is a few times that."""
QUANTIZED_TIE = 0.25
FRACTION_BITS = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
SPACINGS = 2
"""A near tie is also a margin of so many spacings of the format: at 100 its numbers are 0.5 apart in bfloat16."""

Kind = Literal["near tie", "real difference", "not comparable", "not recorded"]


@dataclass(frozen=True)
class Scores:
    """The target's likeliest tokens at one place, the best first.

    Attributes:
        below: by how many logits each token lies below the first.
        best: the logit of the first; None where it was not recorded.
    """

    ids: tuple[int, ...]
    below: tuple[float, ...]
    best: float | None = None

    @property
    def margin(self) -> float | None:
        """Top-1 less top-2 logit, which is ln(p1 / p2); None where there are not two."""
        return self.below[1] if len(self.below) > 1 else None


@dataclass(frozen=True)
class Meaning:
    """What a difference between two runs means.

    Attributes:
        why: goes on after the kind and a colon.
        others: what is not the same, as (name, of A, of B) with values as the traces have them.
        same: what is the same, where that matters.
    """

    kind: Kind
    why: str
    others: tuple[tuple[str, str, str], ...] = ()
    same: tuple[str, ...] = ()


def scores_of(row: Row) -> Scores | None:
    """The target's row of a trace; the six digits that it holds tell logits apart that differ by 1e-6. None where the
    row before the sampling parameters was not recorded."""
    if row.raw is None:
        return None
    kept = [(token, p) for token, p in zip(row.raw.ids, row.raw.probs, strict=True) if p > 0]
    if not kept:
        return Scores((), ())
    logs = [math.log(p) for _, p in kept]
    return Scores(tuple(token for token, _ in kept), tuple(logs[0] - log for log in logs), row.top_logit)


def near_tie_of(model: ModelInfo, logit: float | None = None) -> float:
    """The margin in logits under which a difference can be rounding, for a target whose best logit is ``logit``; the
    coarsest format's where the number format was not recorded."""
    dtype = (model.dtype or "").removeprefix("torch.")
    usual = QUANTIZED_TIE if model.quantization else NEAR_TIE.get(dtype, QUANTIZED_TIE)
    if not logit or dtype not in FRACTION_BITS:
        return usual
    return max(usual, SPACINGS * 2.0 ** (math.frexp(logit)[1] - 1 - FRACTION_BITS[dtype]))


def greedy_meaning(
    tokens: Sequence[int | None], scores: Iterable[Scores | None], models: Iterable[ModelInfo], apart: str = ""
) -> Meaning:
    """What it means that greedy decoding with one target wrote two tokens after the same text.

    Rounding explains it where, in every row that is known, both tokens lie within rounding of the best one.

    Args:
        tokens: the two; None for a side that had ended.
        scores: the rows that they were chosen by, as far as they are known.
        models: what computed those rows; the coarsest number format decides.
        apart: what makes the two not quite one target, as a sentence; then nothing is called a real difference.
    """
    if None in tokens:
        return Meaning("real difference", "both wrote the same tokens up to here, and only one of them ended.")
    models = list(models)
    known = [row for row in scores if row is not None and row.ids]
    if not known:
        return Meaning("not recorded", "no probabilities were recorded there, so nothing says whether it is rounding.")
    limit, model = max(
        ((near_tie_of(model, row.best), model) for model in models for row in known), key=lambda pair: pair[0]
    )
    found = [_below(row, token) for row in known for token in tokens if token is not None]
    most = max(below for below, _ in found)
    dtype = (model.dtype or "").removeprefix("torch.")
    format_ = "quantized weights" if model.quantization else dtype if dtype in NEAR_TIE else "its number format"
    rounding = f"rounding in {format_}"
    if most >= limit:
        if apart:
            return Meaning("not comparable", apart)
        why = f"one of the two tokens lies {most:.3g} logits below the best, and {rounding} explains up to {limit:g}."
        return Meaning("real difference", why)
    if any(one.dtype is None for one in models) and most >= NEAR_TIE["float32"]:
        why = f"one of the two tokens lies {most:.3g} logits below the best, and the number format was not recorded."
        return Meaning("not recorded", why)
    if all(exact for _, exact in found):
        why = f"both tokens lie within {most:.3g} logits of the best, and {rounding} explains up to {limit:g}."
        return Meaning("near tie", why)
    return Meaning("not recorded", "too few of the likeliest tokens were recorded to say whether it is rounding.")


def meaning_of(
    a: Trace,
    b: Trace | ModelInfo,
    steps: tuple[int | None, int | None],
    tokens: tuple[int | None, int | None],
    scores: Sequence[Scores | None],
) -> Meaning:
    """What it means that two runs part.

    Args:
        b: another run, or the target that decoded the prompt of ``a`` greedily by itself.
        steps: position of the step in which each side wrote its token; None where it had ended, or has no steps.
        tokens, scores: as in :func:`greedy_meaning`.
    """
    ours, theirs = _models_at(a, steps[0]).target, _models_at(b, steps[1]).target if isinstance(b, Trace) else b
    if isinstance(b, Trace) and a.prompt_tokens != b.prompt_tokens:
        return Meaning("not comparable", "the prompts differ, so the runs answer different questions.")
    if ours is None or theirs is None:
        return Meaning("not comparable", "one of them does not say what its target was.")
    targets = (ours, theirs)
    if others := _different(*_models("target", *targets, without={"dtype", "device"})):
        return Meaning("not comparable", "the targets are not the same.", others)
    if None in tokens:
        return greedy_meaning(tokens, scores, targets)
    greedy = [
        True if step is None or not isinstance(run, Trace) else greedy_step(run, step)
        for run, step in zip((a, b), steps, strict=True)
    ]
    if None in greedy:
        return Meaning("not comparable", "one of them does not say whether it samples or decodes greedily.")
    if isinstance(b, Trace) and not any(greedy):
        return _sampled_meaning(a, b)
    if not all(greedy):
        return Meaning("not comparable", "one of them samples, the other decodes greedily, so they differ by chance.")
    one_format = len({target.dtype for target in targets if target.dtype}) < 2
    apart = "" if one_format else "the targets compute in different number formats, and that is more than a near tie."
    return greedy_meaning(tokens, scores, targets, apart)


def _sampled_meaning(a: Trace, b: Trace) -> Meaning:
    """Of two sampled runs with one prompt: looks at the first step in which they commit different tokens."""
    if a.engine or b.engine:
        return Meaning(
            "not comparable", "both sample, and nothing says what determined the draws of a run of another engine."
        )
    pairs = zip(a.steps, b.steps, strict=False)
    first = next(i for i, (x, y) in enumerate(pairs) if x.committed != y.committed)
    same: tuple[str, ...] = ("prompt",)
    others: tuple[tuple[str, str, str], ...] = ()
    for name, (ours, theirs) in _determining(a, b, first).items():
        if found := _different(ours, theirs):
            others += found
        else:
            same += (name,)
    if others:
        why = "both sample, and what determines their draws is not the same, so chance alone can part them."
        return Meaning("not comparable", why, others, same)
    if _one_was_cut(a.steps[first], b.steps[first]):
        why = (
            f"both sample, and one of them stopped at its token limit within step {first + 1} or at a stop string, and "
            "went on in one step more, so the later coins are others."
        )
        return Meaning("not comparable", why, (), same)
    should = (
        f"both sample, and all that determines step {first + 1} is the same as far as it is recorded, so both should "
        "commit the same tokens there."
    )
    # The caches of a run that was resumed were filled by other forwards, whose rounding is another.
    if any(x.prefilled != y.prefilled for x, y in zip(a.steps[: first + 1], b.steps[: first + 1], strict=True)):
        why = f"{should} But one of them was resumed, and nothing recorded says whether rounding turned a close coin."
        return Meaning("not recorded", why, (), same)
    why = (
        f"{should} Something else differs: the code, the libraries, the machine, the order of its "
        "sums, or single weights that the sampled hash does not see."
    )
    return Meaning("real difference", why, (), same)


def _models_at(run: Trace, position: int | None) -> Models:
    """What a step was run on; of a run that had ended (None), its last step."""
    if not run.steps:
        return run.models
    return run.models_of(len(run.steps) - 1 if position is None else position)


Named = dict[str, str]
"""Values in words, by name."""


def _determining(a: Trace, b: Trace, position: int) -> dict[str, tuple[Named, Named]]:
    """What, with the tokens before it, determines a sampled step: for each group the values of both runs."""
    ran = a.models_of(position), b.models_of(position)
    (target_a, draft_a), (target_b, draft_b) = ran[0].both(), ran[1].both()
    targets, drafts = _models("target", target_a, target_b), _models("draft", draft_a, draft_b)
    groups = [_settings_that_determine(trace, position) for trace in (a, b)]
    models = (targets[0] | drafts[0], targets[1] | drafts[1])
    return {"models": models} | {name: (groups[0][name], groups[1][name]) for name in groups[0]}


def _settings_that_determine(trace: Trace, position: int) -> dict[str, Named]:
    settings, step = trace.own_settings_of(position), trace.steps[position]
    sampling = {f"target {name}": str(value) for name, value in settings.target}
    sampling |= {f"draft {name}": str(value) for name, value in settings.draft}
    if settings.processors:
        sampling |= {"processors": written_processors(settings.processors.chosen), "mode": settings.processors.mode}
        sampling |= {"draft processed": str(settings.processors.draft)}
    # What the builder and the driver really did, where the step tells: an option left out and its default are the same.
    tree = {f"builder {name}": str(value) for name, value in settings.builder.options.items()}
    tree |= {"builder": settings.builder.name, "builder proposal": str(step.tree.proposal)}
    options = step.verdicts[step.driver].options
    driver = {"driver": step.driver} | {f"{step.driver} {name}": str(value) for name, value in options.items()}
    return {"sampling": sampling, "tree": tree, "driver": driver, "seed": {"seed": str(settings.seed)}}


def _models(side: str, a: ModelInfo, b: ModelInfo, without: Collection[str] = ()) -> tuple[Named, Named]:
    """What was recorded of both models, as far as it can tell them apart.

    What only one trace holds (a newer one) is no difference. Equal weights are one model whatever it is called; unequal
    hashes of two number formats say nothing, because rounding alone changes a hash.
    """
    same = same_weights(a, b)
    left_out = {"note", *without}
    if same:
        left_out |= {"id", "source", "revision"}
    elif same is None or a.dtype != b.dtype:
        left_out |= {"weights"}
    named = []
    for model in (a, b):
        none = "none" if model.dtype else None  # which another engine may not have said
        fields = model.model_dump(exclude=left_out | {"config"}) | {"quantization": model.quantization or none}
        fields |= model.config
        named.append({f"{side} {name}": str(value) for name, value in fields.items() if value is not None})
    both = named[0].keys() & named[1].keys()
    ours, theirs = ({name: value for name, value in one.items() if name in both} for one in named)
    return ours, theirs


def _different(ours: Named, theirs: Named) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, ours.get(name, "not given"), theirs.get(name, "not given"))
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name) != theirs.get(name)
    )


def _one_was_cut(x: Step, y: Step) -> bool:
    """Whether one of two steps committed less of the same tokens, because of its token limit."""
    short, long = sorted((x, y), key=lambda step: len(step.committed))
    is_start = long.committed[: len(short.committed)] == short.committed
    return is_start and len(short.committed) <= len(short.verdicts[short.driver].path)


def is_greedy(settings: Settings) -> bool:
    """Whether a step with these settings commits what the target likes best."""
    return settings.target.temperature == 0 or settings.driver == "greedy"


def greedy_step(trace: Trace, position: int) -> bool | None:
    """Whether a step commits what the target likes best; None where another engine did not say enough."""
    settings = trace.settings_of(position)
    if settings is not None:
        return is_greedy(settings)
    engine = trace.engine
    if engine is None or (engine.target is None and engine.rule is None):
        return None
    if engine.rule == "greedy" or (engine.target is not None and engine.target.temperature == 0):
        return True
    return False if engine.target is not None and engine.rule is not None else None


def _below(row: Scores, token: int) -> tuple[float, bool]:
    """By how many logits a token lies below the best, and whether that is exact: else it is at least so much."""
    if token in row.ids:
        return row.below[row.ids.index(token)], True
    return row.below[-1], False
