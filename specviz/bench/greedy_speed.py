"""Tokens a second of greedy decoding, here and in transformers on the same pair: part (b) of ``bench``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from specviz.bench.greedy import difference_text, first_difference, plain_greedy
from specviz.bench.step_cost import Say, session_of, synchronize
from specviz.compare.prompts import load_prompts
from specviz.models.generating import generate as own_generate
from specviz.models.generating import with_config
from specviz.models.loading import Pair
from specviz.trace.near_tie import Kind, greedy_meaning
from specviz.trace.schema import Choice, Option, Sampling, Settings

PLAIN = "generate"
ASSISTED = "assisted generation"
CHAIN = "specviz 1,1,1,1"
DRAFTED = 4
"""Tokens that a chain drafts a step, ours and that of assisted generation."""


def _k_config(tree: str) -> Choice:
    # At temperature 0 the target takes its best token only, so the draft proposes its best tokens and draws none.
    return Choice(name="k_config", options={"tree": tree, "proposal": "top_k"})


def _best_first(total: int, depth: int, threshold: float = 0.0) -> Choice:
    options: dict[str, Option] = {"rule": "best_first", "total": total, "depth": depth, "threshold": threshold}
    return Choice(name="dynamic", options=options)


TREES = {
    CHAIN: _k_config("1,1,1,1"),
    "specviz 1,1": _k_config("1,1"),
    "specviz 2,1,1": _k_config("2,1,1"),
    "specviz 4,2,2": _k_config("4,2,2"),
    "specviz best first 8": _best_first(8, 4),
    "specviz best first 16": _best_first(16, 5, 0.1),
}
Tick = Callable[[int], None]
"""Called after every step of a method with the number of new tokens so far."""
Method = Callable[[Sequence[int], Tick], list[int]]
"""Prompt tokens -> new tokens."""


@dataclass(frozen=True)
class Difference:
    """A place where a method's tokens are not those of ``generate``.

    Attributes:
        prompt: its id.
        at: index of the first new token that differs.
        margin: there, the target's best logit less its second best; None beyond the end of ``generate``'s text.
        kind: what the difference means, as ``greedy`` and ``diff`` call it.
    """

    prompt: str
    at: int
    margin: float | None
    kind: Kind


@dataclass(frozen=True)
class Speed:
    """One method over all runs, in the order in which they were made; the same prompts for every method.

    Attributes:
        seconds, tokens: of each run, prefill included.
        later_seconds, later_tokens: of each run from the end of its first step on, so without its prefill.
        target_forwards: over one run of each prompt, prefill included.
        new_tokens: in those runs.
    """

    method: str
    seconds: tuple[float, ...]
    tokens: tuple[int, ...]
    later_seconds: tuple[float, ...]
    later_tokens: tuple[int, ...]
    target_forwards: int
    new_tokens: int
    differences: tuple[Difference, ...]

    @property
    def rates(self) -> list[float]:
        """Tokens a second of each run."""
        return [tokens / seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True)]

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def later_rates(self) -> list[float]:
        """Tokens a second of each run after its first step."""
        return [tokens / seconds for tokens, seconds in zip(self.later_tokens, self.later_seconds, strict=True)]

    @property
    def later_rate(self) -> float:
        return median(self.later_rates)

    @property
    def tokens_a_forward(self) -> float:
        return self.new_tokens / self.target_forwards

    def over(self, other: Speed) -> float:
        """Median, over pairs of runs made one after the other, of this method's rate over the other's."""
        return median(ours / theirs for ours, theirs in zip(self.rates, other.rates, strict=True))

    def later_over(self, other: Speed) -> float:
        """The same from the end of the first step of each run on."""
        return median(ours / theirs for ours, theirs in zip(self.later_rates, other.later_rates, strict=True))

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "tokens_a_second": self.rate,
            "tokens_a_second_after_first_step": self.later_rate,
            "tokens_a_target_forward": self.tokens_a_forward,
        }


class _Stopwatch:
    """Times one run, and its part after the first step."""

    def __init__(self, pair: Pair):
        self._pair = pair
        self._first: tuple[float, int] | None = None
        self._start = self._now()

    def tick(self, tokens: int) -> None:
        if self._first is None:
            self._first = (self._now(), tokens)

    def stop(self, tokens: int) -> tuple[float, int, float, int]:
        """Seconds and tokens of the run, then of what came after its first step."""
        end = self._now()
        first, before = self._first or (self._start, 0)
        return end - self._start, tokens, end - first, tokens - before

    def _now(self) -> float:
        synchronize(self._pair)
        return time.perf_counter()


def greedy_speeds(
    pair: Pair,
    repeats: int,
    prompts: int,
    max_new_tokens: int,
    trees: dict[str, Choice] = TREES,
    say: Say = print,
) -> list[Speed]:
    """Run every method on every prompt ``repeats`` times, the methods taking turns, each round another one first.

    A round that is not timed comes before: it warms the machine up, counts forwards and compares the tokens.
    """
    chat = bool(getattr(pair.tokenizer, "chat_template", None))
    chosen = load_prompts()[:prompts]
    encoded = [pair.encode(prompt.text, chat, "drop") for prompt in chosen]
    methods = methods_of(pair, max_new_tokens, trees)
    forwards, new_tokens = dict.fromkeys(methods, 0), dict.fromkeys(methods, 0)
    differences: dict[str, list[Difference]] = {name: [] for name in methods}
    for prompt, tokens in zip(chosen, encoded, strict=True):
        say(f"greedy: comparing tokens on {prompt.id}")
        expected, scores = plain_greedy(pair, list(tokens), max_new_tokens)
        for name, method in methods.items():
            with counted_forwards(pair) as count:
                got = method(tokens, _ignore)
            forwards[name] += count[0]
            new_tokens[name] += len(got)
            if (at := first_difference(got, expected)) is not None:
                row = scores[at] if at < len(scores) else None
                both = [side[at] if at < len(side) else None for side in (got, expected)]
                kind = greedy_meaning(both, [row], [pair.target.info]).kind
                differences[name].append(Difference(prompt.id, at, row.margin if row else None, kind))
    runs: dict[str, list[tuple[float, int, float, int]]] = {name: [] for name in methods}
    names = list(methods)
    for turn in range(repeats):
        for i, tokens in enumerate(encoded):
            say(f"greedy: round {turn + 1} of {repeats}, prompt {i + 1} of {len(encoded)}")
            first = (turn * len(encoded) + i) % len(names)
            for name in [*names[first:], *names[:first]]:
                watch = _Stopwatch(pair)
                got = methods[name](tokens, watch.tick)
                runs[name].append(watch.stop(len(got)))
    found = []
    for name in names:
        seconds, counts, later_seconds, later_counts = zip(*runs[name], strict=True)
        speed = Speed(
            name,
            seconds,
            counts,
            later_seconds,
            later_counts,
            forwards[name],
            new_tokens[name],
            tuple(differences[name]),
        )
        found.append(speed)
    return found


def methods_of(pair: Pair, max_new_tokens: int, trees: dict[str, Choice] = TREES) -> dict[str, Method]:
    """Everything that is compared, by name."""
    methods: dict[str, Method] = {
        PLAIN: lambda tokens, tick: generate(pair, tokens, max_new_tokens, tick),
        ASSISTED: lambda tokens, tick: generate_assisted(pair, tokens, max_new_tokens, tick),
    }
    for name, choice in trees.items():
        methods[name] = _speculative(pair, choice, max_new_tokens)
    return methods


def _ignore(_: int) -> None:
    """For runs that are not timed: does nothing."""


def generate(
    pair: Pair, tokens: Sequence[int], max_new_tokens: int, tick: Tick = _ignore, assistant: Any = None
) -> list[int]:
    """New tokens of transformers' greedy ``generate``."""
    ids = torch.tensor([list(tokens)], device=pair.target.device)

    def listen(so_far: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """A stopping criterion that never stops: ``generate`` calls back after every step through these only."""
        tick(so_far.shape[1] - len(tokens))
        return torch.zeros(1, dtype=torch.bool, device=so_far.device)

    with torch.inference_mode():
        output = own_generate(
            pair.target.model, ids, pair.eos_ids, max_new_tokens=max_new_tokens, stopping=listen, assistant=assistant
        )
    return [int(token) for token in output[0, len(tokens) :].tolist()]


def generate_assisted(pair: Pair, tokens: Sequence[int], max_new_tokens: int, tick: Tick = _ignore) -> list[int]:
    """The same with the draft as assistant: a constant number of drafted tokens, whatever its confidence."""
    # transformers looks for these in the assistant's generation config, not in arguments of the call.
    assistant = with_config(
        pair.draft_model.model,
        num_assistant_tokens=DRAFTED,
        num_assistant_tokens_schedule="constant",
        assistant_confidence_threshold=0.0,
    )
    return generate(pair, tokens, max_new_tokens, tick, assistant=assistant)


def _speculative(pair: Pair, builder: Choice, max_new_tokens: int) -> Method:
    settings = Settings(
        target=Sampling(temperature=0.0),
        builder=builder,
        verifiers=(Choice(name="greedy"),),
        driver="greedy",
        max_new_tokens=max_new_tokens,
    )

    def run(tokens: Sequence[int], tick: Tick) -> list[int]:
        new: list[int] = []
        for step in session_of(pair, settings, tokens).run():
            new += step.committed
            tick(len(new))
        return new

    return run


@contextmanager
def counted_forwards(pair: Pair) -> Iterator[list[int]]:
    """Count the target's forwards, ours and those of transformers; yields a list with that one number."""
    count = [0]

    def add(*_: Any) -> None:
        count[0] += 1

    hook = pair.target.model.register_forward_hook(add)
    try:
        yield count
    finally:
        hook.remove()


def best_tree(speeds: Sequence[Speed]) -> Speed:
    """The fastest of our trees that branches or not, by the median ratio to assisted generation."""
    assisted = next(speed for speed in speeds if speed.method == ASSISTED)
    ours = [speed for speed in speeds if speed.method not in (PLAIN, ASSISTED)]
    return max(ours, key=lambda speed: speed.over(assisted))


def speed_lines(speeds: Sequence[Speed]) -> Iterator[str]:
    """Part (b) as a table, and what is to be said about it."""
    plain, assisted = (next(s for s in speeds if s.method == name) for name in (PLAIN, ASSISTED))
    yield f"{'':<24}{'':>6}{'whole runs':>34}{'after the first step':>34}{'tokens per':>12}"
    columns = f"{'tokens/s':>10}{'/ assisted':>12}{'/ generate':>12}"
    yield f"{'method':<24}{'runs':>6}{columns}{columns}{'forward':>12}  tokens"
    for speed in speeds:
        whole = f"{speed.rate:>10.1f}{speed.over(assisted):>12.2f}{speed.over(plain):>12.2f}"
        later = f"{speed.later_rate:>10.1f}{speed.later_over(assisted):>12.2f}{speed.later_over(plain):>12.2f}"
        count = len(speed.seconds)
        yield f"{speed.method:<24}{count:>6}{whole}{later}{speed.tokens_a_forward:>12.2f}  {_agreement(speed)}"
    best = best_tree(speeds)
    yield f"fastest tree: {best.method}, {best.over(assisted):.2f} of assisted generation"


def _agreement(speed: Speed) -> str:
    if not speed.differences:
        return "as generate"
    first = speed.differences[0]
    others = len(speed.differences) - 1
    more = f" and on {others} more" if others else ""
    return f"DIFFER on {first.prompt}{more}: token {first.at + 1}, {difference_text(first.kind, first.margin)}"
