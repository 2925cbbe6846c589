"""Seven short lessons on recorded runs: what one says is filled in from its run, what it asks is answered in the tree.

A template holds no number: every one that a learner reads was looked up in the trace, and so was the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from specviz.digits import digits
from specviz.errors import TraceError
from specviz.trace.schema import Decision, Step, Trace, text_of_tokens

FORMULAS = ("min(1, p/q)", "between 0 and 1")
"""The only digits that a template may hold."""


@dataclass(frozen=True)
class Told:
    """A lesson with the numbers of its run.

    Attributes:
        step: index of the step that it is about, and in which the answer lies.
        verifier: the one whose marks matter.
        paragraphs: what is explained.
        question: answered by selecting one of ``nodes``.
        hint: where to look.
        solved: what the learner has found.
    """

    step: int
    verifier: str
    paragraphs: tuple[str, ...]
    question: str
    nodes: frozenset[int]
    hint: str
    solved: str


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        name: for addresses and files.
        title: what it is called.
        run: file below ``assets`` that it is told on, without the suffix.
        tell: finds a step of the run that shows it.
    """

    name: str
    title: str
    run: str
    tell: Callable[[Trace], Told]


def chain(trace: Trace) -> Told:
    """Speculative sampling on a chain."""

    def broken(step: Step) -> Any:
        decisions = step.verdicts["rejection"].decisions
        kept = [d for d in decisions if d.outcome == "accepted"]
        lost = [d for d in decisions if d.outcome == "rejected"]
        return (kept[0], lost[0]) if kept and lost else None

    step, (kept, lost) = _first(trace, broken)
    facts = {
        "drafted": len(step.tree.nodes) - 1,
        **_decision("kept", kept),
        **_decision("lost", lost),
        "steps": len(trace.steps),
        "mean": _mean_accepted(trace, "rejection"),
    }
    return _told(
        step,
        "rejection",
        facts,
        [
            "The small draft model wrote a chain of {drafted} tokens. The large target model then scored all of them"
            " in one forward. A drafted token stays with probability min(1, p/q), where q is what the draft gave it "
            "and p what the target gives it. A coin between 0 and 1 decides.",
            "Node {kept_node} has p = {kept_p} and q = {kept_q}, so its threshold is {kept_t}. Its coin is {kept_u}:"
            " below, so the token stays. The first token whose coin is not below its threshold goes, and so does "
            "everything after it, because it was written to follow that token. The target then adds one token of its"
            " own.",
            "Over the {steps} steps of this run the chain kept {mean} drafted tokens a step. The text is distributed"
            " as if the target had written it alone.",
        ],
        "At which node did this chain break? Select it in the tree.",
        [lost.node],
        "Look for the first card that rejection marked with ✕.",
        "Node {lost_node}: p = {lost_p} and q = {lost_q} make the threshold {lost_t}; the coin {lost_u} is not below.",
    )


def trees(trace: Trace) -> Told:
    """Why draft a tree."""

    def beside(step: Step) -> Any:
        path = step.verdicts["rejection"].path
        found = [node for node in path if step.tree.nodes[node].rank > 0]
        return found[0] if found and path.index(found[0]) == 0 and len(path) > 1 else None

    step, node = _first(trace, beside)
    saved = sum(any(one.tree.nodes[n].rank > 0 for n in one.verdicts["rejection"].path) for one in trace.steps)
    alone = _mean(
        [_before(next((n for n in path if one.tree.nodes[n].rank > 0), None), path) for one, path in _paths(trace)]
    )
    return _told(
        step,
        "rejection",
        {
            "nodes": len(step.tree.nodes) - 1,
            "first": sum(one.parent == 0 for one in step.tree.nodes),
            "mean": _mean_accepted(trace, "rejection"),
            "alone": alone,
            "saved": saved,
            "steps": len(trace.steps),
            "node": node,
            "rank": step.tree.nodes[node].rank + 1,
            "length": len(step.verdicts["rejection"].path),
        },
        [
            "A chain is lost at its first rejected token. A tree has more than one try at every place: this one "
            "holds {nodes} drafted tokens, {first} of them directly below the root. The target still scores all of "
            "them in one forward, because each token sees only its own ancestors.",
            "Siblings are tried in order. If the first is rejected, the second gets its chance, and the branch below"
            " it with it.",
            "In {saved} of the {steps} steps of this run the accepted path leaves the first siblings. They alone would "
            "have given {alone} tokens a step; the tree gave {mean}.",
        ],
        "Which is the first accepted node that the chain of first siblings would not have had? Select it.",
        [node],
        "Follow rejection's ribbon from the root: does it go to the topmost card?",
        "Node {node} is sibling number {rank}. With it came an accepted path of {length} tokens; the chain would have "
        "ended at once.",
    )


def residual(trace: Trace) -> Told:
    """The residual."""

    def judged_late(step: Step) -> Any:
        decisions = step.verdicts["rejection"].decisions
        for before, after in pairwise(decisions):
            siblings = step.tree.nodes[before.node].parent == step.tree.nodes[after.node].parent
            told = before.residual is not None and before.p is not None and after.p is not None
            if before.outcome == "rejected" and siblings and told and after.p and after.q:
                return before, after
        return None

    step, (before, after) = _first(trace, judged_late)
    decisions = step.verdicts["rejection"].decisions
    answers = [
        late.node
        for place, late in enumerate(decisions)
        if any(
            early.outcome == "rejected" and step.tree.nodes[early.node].parent == step.tree.nodes[late.node].parent
            for early in decisions[:place]
        )
    ]
    return _told(
        step,
        "rejection",
        {
            **_decision("before", before),
            **_decision("after", after),
            "mass": digits(before.residual.mass),
            "own": digits(step.tree.nodes[after.node].target_prob),
        },
        [
            "When a token is rejected, the draft's proposal has been used up at that place. What the target still "
            "lacks is the residual: wherever p is larger than q, the difference p − q, and zero elsewhere.",
            "Node {before_node} was rejected here (p = {before_p}, q = {before_q}, coin {before_u}). The residual it"
            " left has mass {mass}; divided by that it is a distribution again. The next sibling is judged by it, "
            "not by p. When no sibling is left, the bonus token is drawn from it.",
            "Whoever forgets this step, or uses the residual from before the last rejection, gets fluent text with a "
            "wrong distribution. The audit cannot see it, because the caches are right.",
        ],
        "Select a node that rejection judged by a residual instead of the target's own p.",
        answers,
        "It comes after a rejected sibling: select a card that rejection looked at below one that it marked with ✕.",
        "Node {after_node}, for one: the target gives it {own}, but rejection judged it with p = {after_p}.",
    )


def eta(trace: Trace) -> Told:
    """Eta, and what it costs."""

    def apart(step: Step) -> Any:
        kept = _by_outcome(step, "eta", "accepted")
        lost = _by_outcome(step, "rejection", "rejected")
        both = sorted(set(kept) & set(lost) & set(step.verdicts["eta"].path))
        return [(kept[node], lost[node]) for node in both] or None

    step, pairs = _first(trace, apart)
    kept, lost = pairs[0]
    return _told(
        step,
        "eta",
        {
            **_decision("kept", kept),
            **_decision("lost", lost),
            "epsilon": step.verdicts["eta"].options["epsilon"],
            "delta": step.verdicts["eta"].options["delta"],
            "eta": _mean_accepted(trace, "eta"),
            "rejection": _mean_accepted(trace, "rejection"),
        },
        [
            "Eta flips no coin. It accepts a token if the target finds it likely enough: p must exceed min(epsilon, "
            "delta · exp(−entropy)). Where the target is unsure, less is enough. Here epsilon is {epsilon} and delta"
            " is {delta}.",
            "At one node of this step the limit is {kept_t} and p is {kept_p}: accepted, always. Rejection has "
            "another opinion: the draft had given the token q = {lost_q}, far more often than the target would, so "
            "it stays only with probability {lost_t}; the coin was {lost_u}.",
            "On the trees of this run eta accepts {eta} tokens a step and rejection {rejection}. The price: such "
            "tokens appear more often than the target would write them, others never. Eta is lossy, and no run shows"
            " that by itself; the table under Verifiers does.",
        ],
        "Select a node that eta accepted and rejection rejected.",
        [one.node for one, _ in pairs],
        "Every card carries one mark per verifier. Look for ● of eta beside ✕ of rejection.",
        "Node {kept_node}: eta accepted it because {kept_p} is above {kept_t}; rejection's coin {lost_u} was not below "
        "{lost_t}.",
    )


def longest(trace: Trace) -> Told:
    """Longest path, and why traversal is the honest one."""

    def longer(step: Step) -> Any:
        paths = {name: step.verdicts[name].path for name in ("longest_path", "traversal")}
        end = paths["longest_path"][-1:]
        far = len(paths["longest_path"]) > len(paths["traversal"]) > 0
        return end[0] if far and _outcome(step, "longest_path", end[0]) else None

    step, node = _first(trace, longer)
    return _told(
        step,
        "longest_path",
        {
            "flipped": len(step.verdicts["longest_path"].decisions),
            "length": len(step.verdicts["longest_path"].path),
            "exact": len(step.verdicts["traversal"].path),
            "longest": _mean_accepted(trace, "longest_path"),
            "traversal": _mean_accepted(trace, "traversal"),
            "rejection": _mean_accepted(trace, "rejection"),
            "node": node,
        },
        [
            "Why stop at the first branch that works? Longest path flips a coin for every edge, here {flipped} of "
            "them, and takes the deepest path on which all coins fell well. On this run: {longest} tokens a step, "
            "rejection {rejection}.",
            "But choosing the longest among several is a choice that the target never made: tokens that happen to "
            "lie on long branches win. The output is not distributed as the target's. It is lossy.",
            "Traversal also looks for depth first: it decides from the leaves up, but it carries the residual along,"
            " and so it stays exact. It accepts {traversal} tokens a step on these trees. In expectation it is never"
            " shorter than rejection; in one run it may be.",
        ],
        "Select the node in which the longest path ends.",
        [node],
        "Follow the ribbon of longest_path to its last card before the bonus token.",
        "Node {node} ends a path of {length} tokens. Traversal, with the same coins, accepted {exact} here.",
    )


def cache(trace: Trace) -> Told:
    """The KV cache after the update."""

    def moved(step: Step) -> Any:
        moves = step.caches.target.moves
        return moves if len(moves) > 1 else None

    step, moves = _first(trace, moved)
    change = step.caches.target
    node_at = {slot.slot: slot.node for slot in change.appended if slot.node is not None}
    source, place = max(moves, key=lambda move: move[0] - move[1])
    return _told(
        step,
        step.driver,
        {
            "first": change.appended[0].slot,
            "last": change.appended[-1].slot,
            "kept": change.length_after - change.length_before,
            "dropped": len(change.dropped),
            "before": change.length_before,
            "after": change.length_after,
            "moves": len(moves),
            "node": node_at[source],
            "source": source,
            "place": place,
        },
        [
            "Each token of the tree left a key and a value in the cache, in the slots {first} to {last}, behind a "
            "context of {before}. After the verdict only the root and the accepted path may stay, in one row and in "
            "order.",
            "So the cache keeps {kept} of these entries and throws {dropped} away. Its length becomes {after}. "
            "Accepted nodes that did not lie in the right place are moved first: {moves} in this step.",
            "Just cutting the cache to the right length would leave strangers in those slots. Every later token would "
            "then look at words that were never written, and the text would still be fluent.",
        ],
        "Which accepted node moved farthest in the target's cache? Select it.",
        [node_at[source]],
        "Below the tree, the cache picture shows the slots before and after; nodes of the right end move farthest.",
        "Node {node} went from slot {source} to slot {place}.",
    )


def bug(trace: Trace) -> Told:
    """Find the bug."""

    def lost(step: Step) -> Any:
        change = step.caches.target
        slots = {slot.node: place for place, slot in enumerate(change.appended)}
        wrong = []
        for place, node in enumerate(step.verdicts[step.driver].path, start=1):
            if change.fingerprints_after[place] != change.fingerprints_before[slots[node]]:
                wrong.append((node, place))
        return wrong or None

    step, wrong = _first(trace, lost)
    change = step.caches.target
    node, place = wrong[0]
    where = change.length_before + place
    stranger = next(
        slot.node
        for slot, mark in zip(change.appended, change.fingerprints_before, strict=True)
        if mark == change.fingerprints_after[place]
    )
    return _told(
        step,
        step.driver,
        {
            "text": _shown(trace),
            "step": trace.steps.index(step) + 1,
            "node": node,
            "where": where,
            "stranger": stranger,
            "count": len(wrong),
            "audit": digits(_worst(step)),
        },
        [
            "This run was recorded with one line of the cache update taken out. It wrote: “{text}” Nothing in the text "
            "says that something is wrong.",
            "Accepted nodes must keep the keys and values that they got in the forward. A fingerprint of every entry"
            " was taken before the update and after it, so an entry that is not what it should be can be seen.",
            "Step {step} is the first in which an accepted node lost its entry; lost in it: {count}. Compared with a"
            " fresh recompute, the cache is off by up to {audit} of its size.",
        ],
        "Which accepted node lost its key and value? Select it in the tree.",
        [one for one, _ in wrong],
        "The red line under the summary leads to the slot; the slot says which node should be there.",
        "Node {node} should be in slot {where}, but the entry of node {stranger} is still there: the cache was cut "
        "to the right length and nothing was moved.",
    )


LESSONS: tuple[Lesson, ...] = (
    Lesson("chain", "Speculative sampling on a chain", "traces/chain-of-4", chain),
    Lesson("trees", "Why trees", "traces/default-4-2-2", trees),
    Lesson("residual", "The residual", "traces/default-4-2-2", residual),
    Lesson("eta", "Eta, and what it costs", "traces/default-4-2-2", eta),
    Lesson("longest", "Longest path, and the honest one", "traces/default-4-2-2", longest),
    Lesson("cache", "The KV cache after the update", "traces/default-4-2-2", cache),
    Lesson("bug", "Find the bug", "lessons/find-the-bug", bug),
)


# ------------------------------------------------------------------------------------------------------- numbers


def _told(
    step: Step,
    verifier: str,
    facts: dict[str, Any],
    paragraphs: list[str],
    question: str,
    nodes: list[int],
    hint: str,
    solved: str,
) -> Told:
    for template in (*paragraphs, question, hint, solved):
        own = template
        for formula in FORMULAS:
            own = own.replace(formula, "")
        assert not any(character.isdigit() for character in own), f"a number of its own: {template}"
    return Told(
        step.index,
        verifier,
        tuple(text.format(**facts) for text in paragraphs),
        question,
        frozenset(nodes),
        hint,
        solved.format(**facts),
    )


def _first(trace: Trace, find: Callable[[Step], Any]) -> tuple[Step, Any]:
    for step in trace.steps:
        if (found := find(step)) is not None:
            return step, found
    raise TraceError("This run has no step that shows what the lesson is about; restore the runs of this version.")


def _decision(name: str, decision: Decision) -> dict[str, Any]:
    return {
        f"{name}_node": decision.node,
        f"{name}_p": digits(decision.p),
        f"{name}_q": digits(decision.q),
        f"{name}_t": digits(decision.threshold),
        f"{name}_u": digits(decision.uniform),
    }


def _by_outcome(step: Step, verifier: str, outcome: str) -> dict[int, Decision]:
    return {d.node: d for d in step.verdicts[verifier].decisions if d.outcome == outcome}


def _outcome(step: Step, verifier: str, node: int) -> bool:
    return node in _by_outcome(step, verifier, "accepted")


def _paths(trace: Trace) -> Iterator[tuple[Step, tuple[int, ...]]]:
    return ((step, step.verdicts["rejection"].path) for step in trace.steps)


def _before(node: int | None, path: tuple[int, ...]) -> int:
    return len(path) if node is None else path.index(node)


def _mean_accepted(trace: Trace, verifier: str) -> str:
    return _mean([len(step.verdicts[verifier].path) for step in trace.steps])


def _mean(values: list[int]) -> str:
    return f"{sum(values) / len(values):.2f}"


def _shown(trace: Trace) -> str:
    texts = [step.text_of()[token] for step in trace.steps for token in step.committed]
    return " ".join(text_of_tokens(texts).split())


def _worst(step: Step) -> float:
    audit = step.caches.target.audit
    if audit is None:
        raise TraceError("The lesson's run has no audit; restore the runs of this version.")
    return max(value for rows in (audit.keys, audit.values) for row in rows for value in row)
