"""Greedy verification against plain greedy decoding: the same tokens, whatever the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from specviz.compare.prompts import load_prompts
from specviz.engine.session import Session
from specviz.models.loading import Pair
from specviz.trace.schema import Choice, Sampling, Settings

TREES = {
    "chain": Choice(name="k_config", options={"tree": "1,1,1,1"}),
    "4,2,2": Choice(name="k_config", options={"tree": "4,2,2"}),
    "heterogeneous": Choice(name="explicit", options={}),
    "dynamic": Choice(name="dynamic", options={"total": 30, "top_k": 6, "depth": 5}),
}


@dataclass(frozen=True)
class Comparison:
    """One prompt and one tree.

    Attributes:
        differs_at: index of the first new token that differs, or None.
        margin: there, the target's top-1 logit less its top-2 logit in plain decoding: a near tie or a real difference.
    """

    prompt: str
    tree: str
    tokens: int
    steps: int
    differs_at: int | None
    margin: float | None

    @property
    def equal(self) -> bool:
        return self.differs_at is None

    def text(self) -> str:
        """One line for the command line."""
        head = f"{self.prompt:<16}{self.tree:<16}{self.tokens:>4} tokens in {self.steps:>3} steps  "
        if self.equal:
            return head + "equal"
        return head + f"DIFFERS at token {self.differs_at}, where the top-1 margin is {self.margin:.2g} logits"


def compare_with_generate(pair: Pair, prompts: int, max_new_tokens: int) -> Iterator[Comparison]:
    """Compare the greedy verifier's output with transformers' ``generate`` on every kind of tree."""
    for prompt in load_prompts()[:prompts]:
        has_template = bool(getattr(pair.tokenizer, "chat_template", None))
        expected, margins = plain_greedy(pair, pair.encode(prompt.text, has_template), max_new_tokens)
        for tree, choice in TREES.items():
            settings = Settings(
                target=Sampling(temperature=0.0),
                builder=choice,
                verifiers=(Choice(name="greedy"),),
                driver="greedy",
                max_new_tokens=max_new_tokens,
                chat=has_template,
            )
            session = Session(pair, settings, prompt.text)
            steps = sum(1 for _ in session.run())
            got = session.trace.output_tokens()
            at = first_difference(got, expected)
            margin = None if at is None else margins[min(at, len(margins) - 1)]
            yield Comparison(prompt.id, tree, len(got), steps, at, margin)


def plain_greedy(
    pair: Pair, tokens: list[int], max_new_tokens: int, enough: Callable[[], bool] = lambda: False
) -> tuple[list[int], list[float]]:
    """New tokens of transformers' own greedy decoding, and the top-1 margin of each, in logits.

    Args:
        enough: asked after every token whether to end.
    """
    model = pair.target.model
    ids = torch.tensor([tokens], device=pair.target.device)
    with torch.inference_mode():
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            repetition_penalty=1.0,  # instruction models bring their own, and then it is no plain greedy decoding
            eos_token_id=sorted(pair.eos_ids) or None,
            pad_token_id=min(pair.eos_ids, default=0),
            return_dict_in_generate=True,
            output_logits=True,
            stopping_criteria=[lambda *_, **__: torch.tensor([enough()], device=ids.device)],
        )
    top = [logits[0].float().topk(2).values.tolist() for logits in output.logits]
    return output.sequences[0, len(tokens) :].tolist(), [first - second for first, second in top]


def first_difference(a: list[int], b: list[int]) -> int | None:
    """Index of the first place where two lists differ (also where one ends), or None."""
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
