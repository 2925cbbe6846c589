"""Runs of the loop with planted faults, as its recorder would write them."""

from __future__ import annotations

from functools import lru_cache

import torch
from transformers import PreTrainedModel

from specviz.recorder.build import Texts, build_step
from specviz.recorder.checks import examine
from specviz.trace.schema import Engine, Models, Timings, Trace
from tests.recorder.planted import Loop
from tests.tiny import make_model, perturbed

PROMPT = [5, 17, 33, 2, 8, 41]
ENGINE = "my-loop"


@lru_cache(maxsize=4)
def models(dtype: str = "float32") -> tuple[PreTrainedModel, PreTrainedModel]:
    target = make_model("llama", vocab=64)
    draft = perturbed(target, scale=0.3)
    kind = getattr(torch, dtype)
    return target.to(kind), draft.to(kind)


def recorded(
    steps: int, *, fault: str | None = None, temperature: float = 1.0, dtype: str = "float32", seed: int = 0
) -> Trace:
    """A run with everything that can be said of it."""
    target, draft = models(dtype)
    loop = Loop(target, draft, PROMPT, temperature=temperature, fault=fault, seed=seed)
    texts, found = Texts(None), []
    for raw in loop.run(steps):
        examined = examine(raw)
        verdicts = examined.verdicts
        made = build_step(raw, raw.accepted, ENGINE, texts, examined.checks, Timings(), verdicts=verdicts)
        found.append(made)
        sampling = raw.target_sampling, raw.draft_sampling
    return Trace(
        id="planted",
        created="2026-11-30T00:00:00+00:00",
        specviz_version="0",
        engine=Engine(
            name=ENGINE,
            rule="rejection",
            lossless=True,
            target=sampling[0],
            draft=sampling[1],
            options={"dtype": dtype, "draft_dtype": dtype},
        ),
        models=Models(target=None, draft=None),
        settings=None,
        prompt="",
        prompt_tokens=tuple(PROMPT),
        prompt_texts=(),
        end_tokens=(),
        steps=tuple(found),
    )
