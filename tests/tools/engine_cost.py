"""What the adapters of docs/engines.md add to a step: ``python -m tests.tools.engine_cost`` prints their table.

The engines are the tests' stand-ins, with rows of 32,000 tokens. They have no models, so to each of
their steps is added what a forward of a small Llama over the tree's tokens takes, the same in both runs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import specviz
from tests.recorder.shapes import kernels, spec_tree, strategy, toy, tree_functions

VOCABULARY = 32_000
STEPS = 12


def engines() -> Iterator[tuple[str, int, Any, Callable[[], Any]]]:
    """Name, nodes that the target runs a step, what is attached, and what decodes :data:`STEPS` steps. All sample."""
    eagle, medusa = tree_functions.eagle(), tree_functions.medusa()
    yield "EAGLE", 7, eagle, lambda: eagle.generate(tree_functions.Model(), 1.0, STEPS)
    yield "Medusa, Hydra", 7, medusa, lambda: medusa.generate(tree_functions.Model(), 1.0, STEPS)
    mcsd = strategy.Strategy(1.0)
    yield "MCSD", 16, mcsd, lambda: strategy.generate(mcsd, STEPS)
    yield "Sequoia", 7, spec_tree.SpecTree, lambda: spec_tree.generate(spec_tree.SpecTree(toy.PROMPT, 1.0), STEPS)
    sglang = kernels.sglang(greedy=False)
    yield "SGLang", 6, sglang, lambda: kernels.serve(sglang, STEPS)
    vllm: Any = kernels.vllm(known_draft=True)
    yield "vLLM, two requests", 7, vllm, lambda: vllm.generate([[5, 17, 3], [5, 17]], STEPS, False)


def cost(repeats: int) -> Iterator[str]:
    """Forwards, bare and attached runs in turns: processor milliseconds a step, of one thread, and medians' ratio."""
    toy.VOCABULARY = VOCABULARY
    torch.manual_seed(0)
    shape = {"vocab_size": VOCABULARY, "num_attention_heads": 8, "hidden_size": 768, "intermediate_size": 2304}
    model = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=12)).eval()
    parameters = sum(weight.numel() for weight in model.parameters()) / 1e6
    yield f"Llama of {parameters:.0f} million weights, V = {VOCABULARY:,}, float32, {STEPS} steps, {repeats} rounds"
    yield ""
    yield "| stand-in | bare, ms a step | attached, ms a step | ratio of medians |"
    yield "|---|---|---|---|"
    for name, nodes, thing, decode in engines():
        ids = torch.randint(1, VOCABULARY, (1, nodes))
        forward, bare, with_it = [], [], []
        for turn in range(repeats + 1):
            forward.append(_milliseconds(lambda ids=ids: [model(ids) for _ in range(STEPS)]))
            bare.append(_milliseconds(decode))
            with specviz.attach(thing):
                with_it.append(_milliseconds(decode))
            if not turn:  # allocations
                forward, bare, with_it = [], [], []
        of_model = statistics.median(forward)
        medians = [of_model + statistics.median(times) for times in (bare, with_it)]
        yield f"| {name} | {medians[0]:.1f} | {medians[1]:.1f} | {medians[1] / medians[0]:.2f} |"


def _milliseconds(run: Callable[[], Any]) -> float:
    random.seed(0)
    torch.manual_seed(0)
    began = time.process_time()  # of a machine that does other things, too
    with torch.inference_mode():
        run()
    return (time.process_time() - began) * 1e3 / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for text in cost(arguments.repeats):
        print(text, flush=True)


if __name__ == "__main__":
    main()
