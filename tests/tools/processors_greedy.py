"""Greedy decoding with processors against transformers' ``generate`` with the same ones.

``python -m tests.tools.processors_greedy`` runs twenty prompts on the default pair, or on another target and draft.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from transformers import GenerationConfig, LogitsProcessor

from specviz.engine.session import Session
from specviz.models.generating import with_config
from specviz.models.loading import Pair
from specviz.models.pair_spec import ModelChoice
from specviz.trace.processors import parse_processors
from specviz.trace.schema import Choice, Sampling, Settings

TEXT = (
    "repetition_penalty:penalty=1.3; no_repeat_ngram:size=3; min_new_tokens:count=12; presence_penalty:penalty=0.7; "
    "frequency_penalty:penalty=0.4; logit_bias:bias=12:1.5 20+21:4; suppress_tokens:tokens=13 200; min_p:min_p=0.1"
)
"""All processors at once but ``ignore_eos``, with which ``min_new_tokens`` has nothing to do."""
OF_GENERATE = {
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 3,
    "min_new_tokens": 12,
    "sequence_bias": [[[12], 1.5], [[20, 21], 4.0]],
    "suppress_tokens": [13, 200],
}
"""What says the same to ``generate``, which has no presence and frequency penalty, and no min-p without sampling."""
PROMPTS = (
    "the sea", "an onion in a tin", "The cat sat on the", "Once upon a time", "2, 4, 6, 8,", "def add(a, b):",
    "My favourite colour is", "one one one one", "In the beginning", "The capital of France is", "To be or not to be",
    "Water boils at", "Dear Sir or Madam,", "SELECT name FROM", "the the the the", "He said that she said that",
    "It was a dark and stormy night", "Roses are red,", "A, B, C, D,", "<html><body>",
)  # fmt: skip


class Penalties(LogitsProcessor):
    """Presence and frequency penalty, written down token by token."""

    def __init__(self, prompt: int, presence: float, frequency: float):
        self.prompt, self.presence, self.frequency = prompt, presence, frequency

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        found = scores.clone()
        for row, text in enumerate(input_ids.tolist()):
            output = text[self.prompt :]
            for token in set(output):
                found[row, token] -= self.presence + self.frequency * output.count(token)
        return found


def differing(pair: Pair, prompts: Sequence[str], trees: Sequence[Choice], most: int = 24) -> tuple[list[str], int]:
    """The prompts whose text is another one than ``generate`` gives, on any of the trees; and how many drafted tokens
    were accepted in all."""
    found, accepted = [], 0
    for prompt in prompts:
        tokens = pair.encode(prompt, False)
        expected = plain(pair, tokens, most)
        for tree in trees:
            settings = Settings(
                target=Sampling(temperature=0.0),
                builder=tree,
                verifiers=(Choice(name="greedy"),),
                driver="greedy",
                processors=parse_processors(TEXT, draft=True),
                max_new_tokens=most,
            )
            session = Session(pair, settings, prompt)
            accepted += sum(len(step.verdicts["greedy"].path) for step in session.run())
            if session.trace.output_tokens() != expected:
                found.append(f"{prompt} ({tree.name})")
    return found, accepted


def plain(pair: Pair, tokens: list[int], most: int) -> list[int]:
    """New tokens of transformers' own greedy decoding with the same processors."""
    ids = torch.tensor([tokens], device=pair.target.device)
    own = [Penalties(len(tokens), 0.7, 0.4)]
    with torch.inference_mode():
        ends = sorted(pair.eos_ids)
        config = GenerationConfig(
            eos_token_id=ends, pad_token_id=ends[0], do_sample=False, max_new_tokens=most, **OF_GENERATE
        )
        output = with_config(pair.target.model).generate(
            ids, generation_config=config, attention_mask=torch.ones_like(ids), logits_processor=own
        )
    return output[0, len(tokens) :].tolist()


def main() -> int:
    """The command. Returns 1 if a text differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="default")
    parser.add_argument("--draft", default="default")
    options = parser.parse_args()
    pair = ModelChoice(options.target, options.draft, "cpu", "float32").load()
    trees = (Choice(name="k_config", options={"tree": "4,2,2"}), Choice(name="dynamic", options={"total": 20}))
    found, accepted = differing(pair, PROMPTS, trees)
    for line in found:
        print(f"differs: {line}")
    print(f"{len(PROMPTS)} prompts on {len(trees)} trees, {accepted} drafted tokens accepted: {len(found)} differ")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
