"""transformers' own drafts under the checks: ``python -m tests.tools.attach_trial`` prints docs/attach.md's tables.

Each mode decodes greedily, and with several temperatures and processors; each text is made twice with one seed, bare
and attached. ``--cost`` prints what the recorder takes beside the bare run instead.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import specviz
from specviz.recorder.audit import Finding, audit
from specviz.trace.schema import Trace
from tests import attached

SAMPLED: dict[str, dict[str, Any]] = {
    "T = 0.7": {"temperature": 0.7},
    "T = 1": {},
    "T = 1.5": {"temperature": 1.5},
    "T = 1, top-k 10": {"top_k": 10},
    "T = 0.9, top-p 0.8, repetition 1.2": {"temperature": 0.9, "top_p": 0.8, "repetition_penalty": 1.2},
}
GREEDY: dict[str, dict[str, Any]] = {"greedy": {}, "greedy, repetition 1.2": {"repetition_penalty": 1.2}}


def runs(modes: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Mode, what is asked in words, and for ``generate``."""
    for mode in modes:
        for kind in attached.kinds(mode):
            for words, asked in (SAMPLED if kind["do_sample"] else GREEDY).items():
                yield mode, words, {**kind, **asked}


def score(trace: Trace, name: str) -> str:
    """z and the number of tokens of a calibration, and how many of these their row gives no probability."""
    checks = [check for step in trace.steps for check in step.checks if check.name == name and check.compared]
    variance = math.fsum(check.variance or 0 for check in checks)
    if not variance:
        return "-"
    z = math.fsum(check.score or 0 for check in checks) / math.sqrt(variance)
    impossible = sum(check.failed for check in checks)
    more = f", {impossible} impossible" if impossible else ""
    return f"{z:+.1f} ({sum(check.compared for check in checks)}{more})"


def line(mode: str, words: str, asked: dict[str, Any], tokens: int, seed: int) -> str:
    case = attached.case(mode)
    plain = case.generate(seed, max_new_tokens=tokens, **asked)
    text, trace = attached.recorded(case, seed, max_new_tokens=tokens, **asked)
    same = text == plain == [*trace.prompt_tokens, *trace.output_tokens()]
    found = [one for one in audit(trace, case.target, case.draft) if isinstance(one, Finding)]
    wrong = ", ".join(dict.fromkeys(f"**{one.check}**" for one in found if one.weight != "note")) or "green"
    accepted = sum(len(step.verdicts["transformers"].path) for step in trace.steps) / len(trace.steps)
    scores = " | ".join(score(trace, f"{which}_calibration") for which in ("draft", "committed"))
    return f"| {mode} | {words} | {'yes' if same else '**no**'} | {accepted:.2f} | {wrong} | {scores} |"


def cost(tokens: int, repeats: int) -> Iterator[str]:
    """Bare and attached runs in turns: processor seconds a run (of one thread), and the ratio of medians."""
    torch.manual_seed(0)
    shape = {"vocab_size": 32_000, "num_attention_heads": 8, "eos_token_id": None, "pad_token_id": 0}
    target, draft = (
        LlamaForCausalLM(
            LlamaConfig(**shape, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers)
        ).eval()
        for width, layers in ((768, 12), (256, 2))
    )
    for model in (target, draft):
        config = model.generation_config
        config.eos_token_id, config.num_assistant_tokens_schedule, config.num_assistant_tokens = None, "constant", 4
    parameters = sum(weight.numel() for weight in target.parameters()) / 1e6
    yield f"Llama of {parameters:.0f} million weights, V = 32,000, float32, {tokens} tokens, {repeats} rounds"
    yield ""
    yield "| mode | bare run, s | attached, s | ratio of medians |"
    yield "|---|---|---|---|"
    prompt = torch.randint(1, 32_000, (1, 64), generator=torch.Generator().manual_seed(1))
    asked: dict[str, dict[str, Any]] = {
        "assistant model, greedy": {"assistant_model": draft, "do_sample": False},
        "assistant model, sampled": {"assistant_model": draft, "do_sample": True, "top_k": 0},
        "prompt lookup, sampled": {"prompt_lookup_num_tokens": 4, "do_sample": True, "top_k": 0},
    }
    for name, options in asked.items():
        bare, with_it = [], []
        for turn in range(repeats + 1):
            bare.append(_seconds(target, prompt, tokens, options))
            with specviz.attach(target):
                with_it.append(_seconds(target, prompt, tokens, options))
            if not turn:  # allocations
                bare, with_it = [], []
        medians = [statistics.median(times) for times in (bare, with_it)]
        yield f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {medians[1] / medians[0]:.2f} |"


def _seconds(model: Any, prompt: torch.Tensor, tokens: int, options: dict[str, Any]) -> float:
    torch.manual_seed(0)
    began = time.process_time()  # of a machine that does other things, too
    model.generate(prompt, max_new_tokens=tokens, **options)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", action="append", choices=attached.MODES, help="may be given several times")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("error", specviz.RecorderWarning)
    if arguments.cost:
        for text in cost(arguments.tokens, arguments.repeats):
            print(text, flush=True)
        return
    print("| mode | decoding | same text | accepted a step | audit | draft calibration | committed calibration |")
    print("|---|---|---|---|---|---|---|")
    for mode, words, asked in runs(arguments.mode or list(attached.MODES)):
        print(line(mode, words, asked, arguments.tokens, arguments.seed), flush=True)


if __name__ == "__main__":
    main()
