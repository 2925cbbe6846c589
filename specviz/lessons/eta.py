"""Eta, a lossy verifier: a step in which it accepts a token that rejection sampling rejects, and what that costs."""

from __future__ import annotations

from typing import Any

from specviz.lessons.lesson import (
    Facts,
    FilledLesson,
    Lesson,
    by_outcome,
    decision_facts,
    fill_templates,
    first_step,
    mean_accepted,
    plain_facts,
    reasons,
)
from specviz.trace.schema import Step, Trace


def fill(trace: Trace) -> FilledLesson:
    """Finds a node that eta accepted and rejection rejected; asks for any of the step."""

    def apart(step: Step) -> Any:
        kept = by_outcome(step, "eta", "accepted")
        lost = by_outcome(step, "rejection", "rejected")
        both = sorted(set(kept) & set(lost) & set(step.verdicts["eta"].path))
        return [(kept[node], lost[node]) for node in both] or None

    step, pairs = first_step(trace, apart)
    kept, lost = pairs[0]
    nodes = [one.node for one, _ in pairs]
    refused = by_outcome(step, "eta", "rejected")

    def why(node: int) -> tuple[str, Facts] | None:
        if node in refused:
            return "Eta refused it: p = {it_p} is not above {it_t}.", decision_facts("it", refused[node])
        if node in step.verdicts["eta"].path:
            same = node in by_outcome(step, "rejection", "accepted")
            return ("Both accepted it." if same else "Eta accepted it, but rejection never came to examine it."), {}
        return None

    return fill_templates(
        step,
        "eta",
        {
            # Numbers in the question's paragraphs must not light the card that is asked for.
            **plain_facts(decision_facts("kept", kept)),
            **plain_facts(decision_facts("lost", lost)),
            **{f"found_{name}": one for name, one in decision_facts("kept", kept).items()},
            **{f"found_{name}": one for name, one in decision_facts("lost", lost).items()},
            "epsilon": step.verdicts["eta"].options["epsilon"],
            "delta": step.verdicts["eta"].options["delta"],
            "eta": mean_accepted(trace, "eta"),
            "rejection": mean_accepted(trace, "rejection"),
        },
        paragraphs=[
            "**Eta flips no coin.** It accepts a token if the target finds it likely enough: p must exceed "
            "min(epsilon, delta · exp(−entropy)). Where the target is unsure, less is enough. Here epsilon is "
            "{epsilon} and delta is {delta}.",
            "At one node of this step the limit is {kept_t} and p is {kept_p}: accepted, always. Rejection has another "
            "opinion: the draft had given the token q = {lost_q}, so it stays only with probability {lost_t}; the coin "
            "was {lost_u}.",
            "**The price:** such tokens appear more often than the target would write them, others never. "
            "Eta is lossy, and no run shows that by itself; the table under Verifiers does.",
        ],
        aside="On the trees of this run eta accepts {eta} tokens a step and rejection {rejection}.",
        question="Select a node that eta accepted and rejection rejected.",
        nodes=nodes,
        hint="Press Compare: every card then carries one mark per verifier. Look for ● of eta beside ✕ of rejection.",
        solved="{found_kept}: eta accepted it because {found_kept_p} is above {found_kept_t}; rejection’s coin "
        "{found_lost_u} was not below {found_lost_t}.",
        wrong=reasons(step, nodes, why),
        otherwise="Eta did not accept it.",
    )


LESSON = Lesson("eta", "Eta, and what it costs", "traces/default-4-2-2", fill)
