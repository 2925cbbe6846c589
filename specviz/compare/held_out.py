"""An advised tree on prompts that it was not chosen by, paired with the run's own tree: what it gains stands here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from specviz.compare.prompts import Prompt
from specviz.compare.spec import prompt_seed
from specviz.compare.statistics import (
    Difference,
    Estimate,
    Group,
    Tally,
    between_trees,
    block_efficiency,
    estimate,
    nodes_per_step,
)
from specviz.compare.text_report import interval
from specviz.engine.session import Session
from specviz.errors import SettingsError
from specviz.models.loading import Pair
from specviz.trace.advice import Advice, Advised
from specviz.trace.metrics import emitted_lengths
from specviz.trace.schema import Choice, Settings, Trace

TODAY, ADVISED = "today", "advised"


@dataclass(frozen=True)
class HeldOut:
    """What both trees did.

    Attributes:
        tree: that was advised.
        expected: tree -> new tokens a target forward by the model of the advice.
        seen, nodes: tree -> estimates, with intervals over prompts.
        difference: advised less today in new tokens a target forward, over the same prompts with the same seeds.
    """

    tree: Advised
    expected: dict[str, float]
    seen: dict[str, Estimate]
    nodes: dict[str, Estimate]
    difference: Difference


def held_out(
    pair: Pair,
    trace: Trace,
    advice: Advice,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    on_run: Callable[[str], object] = str,
) -> HeldOut:
    """Run both trees on each prompt, with the settings of the trace and its driver alone.

    Args:
        on_run: called with a line before every run.

    Raises:
        SettingsError: for a run that has no settings to repeat, or where fewer than two prompts are left without the
            run's own.
    """
    settings, tree = trace.own_settings(), advice.best()
    others = [prompt for prompt in prompts if prompt.text != trace.prompt]
    if len(others) < 2:
        raise SettingsError("It takes two prompts or more that are not the run's own; give more with --prompts.")
    explicit = Choice(
        name="explicit", options={"paths": tree.paths, "proposal": advice.proposal or "without_replacement"}
    )
    driver = tuple(choice for choice in settings.verifiers if choice.name == settings.driver)
    tallies = []
    # The first of two is the one that the other is taken from.
    for name, builder in ((ADVISED, explicit), (TODAY, settings.builder)):
        own = settings.model_copy(
            update={"builder": builder, "verifiers": driver, "max_new_tokens": max_new_tokens}
            | {"audit": False, "record_optimum": False}
        )
        for number, prompt in enumerate(others, start=1):
            on_run(f"{name} tree, prompt {number} of {len(others)}")
            tallies.append(_tally(pair, own, name, prompt))
    by_tree = {name: [one for one in tallies if one.group.tree == name] for name in (TODAY, ADVISED)}
    return HeldOut(
        tree,
        {TODAY: advice.today, ADVISED: tree.expected},
        {name: estimate(own, block_efficiency) for name, own in by_tree.items()},
        {name: estimate(own, nodes_per_step) for name, own in by_tree.items()},
        between_trees(tallies, block_efficiency, (ADVISED, TODAY))[0],
    )


def _tally(pair: Pair, settings: Settings, tree: str, prompt: Prompt) -> Tally:
    seeded = settings.model_copy(update={"seed": prompt_seed(settings.seed, prompt.id)})
    session = Session(pair, seeded, prompt.text)
    for _ in session.run():
        pass
    trace = session.trace
    steps = trace.steps
    return Tally(
        Group("paired", tree, settings.target.temperature),
        settings.driver,
        prompt.id,
        prompt.kind,
        steps=len(steps),
        accepted=sum(len(step.verdicts[step.driver].path) for step in steps),
        new_tokens=sum(emitted_lengths(trace, settings.driver)),
        by_depth=(),
        by_rank=(),
        nodes=sum(len(step.tree.nodes) - 1 for step in steps),
    )


def held_out_report(found: HeldOut) -> list[str]:
    """Lines: both trees, what was expected and seen of them, and the difference, which is the claim."""
    it, lines = found.difference, []
    lines.append(f"Held out: {it.prompts} prompts, the same seeds for both; [ ]: 95 % bootstrap intervals over prompts")
    for name in (TODAY, ADVISED):
        seen, nodes, expected = found.seen[name], found.nodes[name], found.expected[name]
        lines.append(
            f"{name:<8}{nodes.value:>7.1f} nodes a step, expected {expected:.3f} new tokens a target forward, seen "
            f"{interval(seen)}: expected less seen {expected - seen.value:+.3f}"
        )
    value = interval(Estimate(it.value, it.low, it.high, it.prompts), sign="+")
    lines.append(f"advised less today {value}, p {it.p:.4f} (exchange test over prompts): {verdict(it)}")
    return lines


def verdict(it: Difference) -> str:
    """What a difference may be called; the interval and the test must agree for it to be more than noise."""
    if it.noise or it.low <= 0 <= it.high:
        return "this may be noise"
    return "the advised tree gains" if it.value > 0 else "the advised tree loses"
