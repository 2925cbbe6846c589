"""The ``greedy`` command: whether greedy verification writes the same tokens as plain greedy decoding, on every tree.

It must, because greedy verification accepts exactly the target's most likely tokens; only rounding between forwards of
different shapes can turn a near tie around.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from specviz.compare.prompts import load_prompts
from specviz.display import say
from specviz.engine.session import Session
from specviz.models.generating import generate
from specviz.models.loading import Pair
from specviz.trace.diff import PLAIN, Reference, compare
from specviz.trace.near_tie import Kind, Scores
from specviz.trace.schema import Choice, Sampling, Settings, Trace

SCORES = 10
"""How many of the likeliest tokens are kept of a row of plain greedy decoding."""
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
        margin: there, the target's top-1 logit less its top-2 logit in plain decoding.
        kind: what the difference means.
    """

    prompt: str
    tree: str
    tokens: int
    steps: int
    differs_at: int | None = None
    margin: float | None = None
    kind: Kind | None = None

    @property
    def equal(self) -> bool:
        return self.differs_at is None

    def text(self) -> str:
        """One line for the command line."""
        head = f"{self.prompt:<16}{self.tree:<16}{self.tokens:>4} tokens in {self.steps:>3} steps  "
        if self.differs_at is None:
            return head + "equal"
        return head + f"DIFFERS at token {self.differs_at + 1}: {difference_text(self.kind, self.margin)}"


def difference_text(kind: Kind | None, margin: float | None) -> str:
    """What a difference means and the margin there, for one line."""
    return f"{kind}" + ("" if margin is None else f", top-1 margin {margin:.2g} logits")


def compare_with_generate(
    pair: Pair, prompts: int, max_new_tokens: int, trees: dict[str, Choice] = TREES
) -> Iterator[Comparison]:
    """Compare the greedy verifier's output with transformers' ``generate`` on every kind of tree."""
    for prompt in load_prompts()[:prompts]:
        has_template = bool(getattr(pair.tokenizer, "chat_template", None))
        expected, scores = plain_greedy(pair, pair.encode(prompt.text, has_template, "drop"), max_new_tokens)
        plain = Reference(PLAIN, tuple(expected), {}, tuple(scores), pair.models.both()[0])
        for tree, choice in trees.items():
            settings = Settings(
                target=Sampling(temperature=0.0),
                builder=choice,
                verifiers=(Choice(name="greedy"),),
                driver="greedy",
                max_new_tokens=max_new_tokens,
                chat=has_template,
                prompt_end_token="drop",
            )
            session = Session(pair, settings, prompt.text)
            steps = sum(1 for _ in session.run())
            yield _comparison(prompt.id, tree, session.trace, steps, plain)


def _comparison(prompt: str, tree: str, trace: Trace, steps: int, plain: Reference) -> Comparison:
    found = compare(trace, plain)
    tokens = found.a.tokens
    if (parting := found.parting) is not None:
        return Comparison(prompt, tree, tokens, steps, parting.index, parting.margin, parting.meaning.kind)
    if tokens != len(plain.tokens) and trace.end_reason != "context limit":
        return Comparison(prompt, tree, tokens, steps, found.shared, None, "real difference")
    return Comparison(prompt, tree, tokens, steps)


def tell(lines: Iterable[Comparison]) -> bool:
    """Print every comparison as it comes, and in the end how many ended how.

    Returns:
        whether all were equal, or different because of rounding.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        say(line.text(), flush=True)
        counts[line.kind or "equal"] += 1
    say(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return not counts.keys() - {"equal", "near tie"}


def plain_greedy(
    pair: Pair, tokens: list[int], max_new_tokens: int, enough: Callable[[], bool] = lambda: False
) -> tuple[list[int], list[Scores]]:
    """New tokens of transformers' own greedy decoding, and the likeliest tokens where each was chosen.

    Args:
        enough: asked after every token whether to end.
    """
    ids = torch.tensor([tokens], device=pair.target.device)
    with torch.inference_mode():
        output = generate(
            pair.target.model,
            ids,
            pair.eos_ids,
            stopping=lambda *_, **__: torch.tensor([enough()], device=ids.device),
            max_new_tokens=max_new_tokens,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return output.sequences[0, len(tokens) :].tolist(), [_scores(logits[0]) for logits in output.logits]


def _scores(logits: torch.Tensor) -> Scores:
    """Of one row of logits [V]."""
    values, ids = logits.float().topk(min(SCORES, len(logits)))
    kept = [(token, value) for token, value in zip(ids.tolist(), values.tolist(), strict=True) if math.isfinite(value)]
    best = kept[0][1] if kept else None
    return Scores(tuple(token for token, _ in kept), tuple((best or 0.0) - value for _, value in kept), best)


def first_difference(a: list[int], b: list[int]) -> int | None:
    """Index of the first place where two lists differ (also where one ends), or None."""
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
