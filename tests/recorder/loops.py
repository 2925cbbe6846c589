"""The loops of docs/examples, as they are and with one of the trial's nine faults planted in their text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from specviz import Recorder
from tests import tiny
from tests.paths import ROOT

PROMPT = [5, 17, 33, 2, 8, 41]


@dataclass(frozen=True)
class Fault:
    """What is written instead of what in one of the examples."""

    example: str
    right: str
    wrong: str


FAULTS = {
    "no compaction": Fault("tree", "keep = [0, *accepted]", "keep = list(range(1 + len(accepted)))"),
    "positions + 1": Fault("tree", "[past + len(path) - 1 for", "[past + len(path) for"),
    "mask leaks a sibling": Fault(
        "tree",
        "            logits = target(\n",
        "            mask[2, past + 1] = 0\n            logits = target(\n",
    ),
    "stale residual": Fault(
        "tree",
        "p_row.sub_(q_used).clamp_(min=0)",
        "p_row = p_row.sub(q_used if child == children[0] else 0).clamp_(min=0) if child != children[-1] else p_row",
    ),
    "q not renormalised": Fault("tree", "                    q_row.div_(q_row.sum())\n", ""),
    "verified at another temperature": Fault(
        "tree", "p_row = p[node]\n", "p_row = distribution(logits[node], 2 * temperature)\n"
    ),
    "draft context two short": Fault("tree", "past = text[:-1]", "past = text[:-3]"),
    "argmax drafts judged with softmax q": Fault(
        "chain", "torch.multinomial(q[-1], 1, generator=luck).tolist()", "[q[-1].argmax().item()]"
    ),
    "drafted at T = 1, judged at T = 2": Fault(
        "chain",
        "torch.multinomial(q[-1], 1, generator=luck).tolist()",
        "torch.multinomial(distribution(logits, temperature / 2), 1, generator=luck).tolist()",
    ),
}


def load(example: str, fault: str | None = None) -> Callable[..., Any]:
    """``decode`` of an example."""
    if fault is None:
        return changed(example, ())
    planted = FAULTS[fault]
    assert planted.example == example
    return changed(example, ((planted.right, planted.wrong),))


def changed(example: str | Path, lines: Iterable[tuple[str, str]], **names: Any) -> Callable[..., Any]:
    """``decode`` of an example in which other lines are written, one after the other.

    Args:
        example: its name, or another file.
        names: what they use besides.
    """
    path = example if isinstance(example, Path) else ROOT / "docs" / "examples" / f"{example}.py"
    source = path.read_text(encoding="utf-8")
    for right, wrong in lines:
        assert source.count(right) == 1, f"the example has changed, or another line: {right}"
        source = source.replace(right, wrong)
    names["__name__"] = f"examples.{path.stem}"
    exec(compile(source, str(path), "exec"), names)
    decode: Callable[..., Any] = names["decode"]
    return decode


@lru_cache(maxsize=2)
def models(dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """A target and a draft that agrees with it often, but not always."""
    target = tiny.make_model("llama")
    draft = tiny.perturbed(target, scale=0.3)
    return target.to(dtype), draft.to(dtype)


def run(
    example: str,
    *,
    fault: str | None = None,
    temperature: float = 1.0,
    new_tokens: int = 40,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    path: Any = None,
) -> Recorder:
    """Decode with an example and record it. The batch has the requests ``a`` and ``b``."""
    target, draft = models(dtype)
    greedy_tree = example == "tree" and temperature == 0
    rec = Recorder(
        path,
        prompt=None if example == "batch" else PROMPT,
        sampling=temperature,
        draft_sampling=1.0 if greedy_tree else temperature,
        engine="my-loop",
        rule="rejection",
        lossless=True,
        target=target,
        draft=draft,
        strict=True,
    )
    prompt = {"a": PROMPT, "b": PROMPT[:3]} if example == "batch" else PROMPT
    load(example, fault)(target, draft, prompt, rec, new_tokens=new_tokens, temperature=temperature, seed=seed)
    return rec
