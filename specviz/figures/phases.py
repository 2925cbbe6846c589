"""The phases inside a step, in order, each with a sentence that says what just happened.

The page walks this list and shows only what is known after the phase it stands on: draft levels first, then the
target's probabilities, then one verifier's decisions one by one, then what was committed and what became of the caches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from specviz.digits import apart, digits
from specviz.figures.cache import after_rows
from specviz.figures.frame_types import Phase, Phases, VerdictPhases
from specviz.figures.head_slots import HeadSlots
from specviz.figures.outcomes import LETTERS
from specviz.figures.text import listed, shorten, token_label, token_of
from specviz.figures.tree import node_label
from specviz.trace.schema import Bonus, CacheChange, Decision, Step, Verdict

NAME_COLUMNS = 24
LISTED = 4
"""Tokens that a sentence names before it counts the rest."""


def step_phases(step: Step, shown: Collection[int], rules: HeadSlots | None = None) -> Phases:
    """The phases of one step, split so that any verifier can be the one that is watched: draft levels and the target
    before, one verifier's decisions and its verdict, commit and cache after.

    Decisions about nodes that are not in ``shown`` have no card to look at: a run of them is one phase without a node.
    Of another engine's step there are no phases of what was not recorded. ``rules`` are those of a draft head's cache.
    """
    deepest = max(node.depth for node in step.tree.nodes)
    before: list[Phase] = [
        {"kind": "draft", "depth": d, "caption": _draft_caption(step, d, rules)} for d in range(1, deepest + 1)
    ]
    if any(node.target is not None or node.target_prob is not None for node in step.tree.nodes):
        before.append({"kind": "target", "caption": _target_caption(step)})
    after: list[Phase] = [{"kind": "commit", "caption": _commit_caption(step)}]
    if step.caches.target or step.caches.draft:
        after.append({"kind": "cache", "caption": _cache_caption(step, rules)})
    return {
        "before": before,
        "verdicts": {name: _verdict_phases(step, verdict, shown) for name, verdict in step.verdicts.items()},
        "after": after,
    }


def is_walk(step: Step, verdict: Verdict) -> bool:
    """Whether the decisions go from node to accepted child, so that each acceptance is final when it is made."""
    at, path = 0, []
    for decision in verdict.decisions:
        if step.tree.nodes[decision.node].parent != at:
            return False
        if decision.outcome == "accepted":
            at = decision.node
            path.append(at)
    return tuple(path) == verdict.path


def _verdict_phases(step: Step, verdict: Verdict, shown: Collection[int]) -> VerdictPhases:
    # An accepted node is final at once in a walk; other rules only pass nodes and choose among them at the end.
    walk = is_walk(step, verdict)
    phases: list[Phase] = []
    folded: list[Decision] = []
    for taken, decision in enumerate(verdict.decisions):
        if decision.node in shown:
            if folded:
                phases.append(_folded_phase(verdict, folded, taken))
                folded = []
            caption = _decision_caption(step, verdict, decision, walk)
            phases.append({"kind": "decide", "node": decision.node, "upto": taken + 1, "caption": caption})
        else:
            folded.append(decision)
    if folded:
        phases.append(_folded_phase(verdict, folded, len(verdict.decisions)))
    return {"walk": walk, "phases": [*phases, {"kind": "verdict", "caption": _verdict_caption(step, verdict)}]}


def _folded_phase(verdict: Verdict, folded: list[Decision], upto: int) -> Phase:
    rejected = sum(LETTERS[decision.outcome] == "r" for decision in folded)
    many = f"{len(folded)} decisions" if len(folded) > 1 else "one decision"
    caption = f"{verdict.verifier}: {many} about folded nodes, {rejected} rejected"
    return {"kind": "decide", "node": None, "upto": upto, "caption": caption}


# -------------------------------------------------------------------------------------------------- sentences


def _draft_caption(step: Step, depth: int, rules: HeadSlots | None) -> str:
    level = [node for node in step.tree.nodes if node.depth == depth]
    ran, proposal = draft_ran(step, rules), step.tree.proposal
    verb = "took its most likely" if ran and proposal == "top_k" else "drew" if ran and proposal else "took"
    who = "the draft" if ran or step.tree.builder is None else step.tree.builder
    if ran and rules is not None and rules.block:
        who += ", in one forward for all levels," if depth == 1 else ", from the same forward,"
    listed = level if len(level) <= LISTED else sorted(level, key=lambda node: -(node.draft_prob or 0))[:3]
    texts = step.text_of()
    named = ", ".join(_with_chance(node_label(node, texts), node.draft_prob) for node in listed)
    if len(level) <= LISTED:
        return f"Draft, level {depth}: {who} {verb} {named}"
    parents = Counter(node.parent for node in level)
    first = "likeliest" if any(node.draft_prob is not None for node in level) else "the first of them"
    return f"Draft, level {depth}: {who} {verb} {len(level)} tokens below {len(parents)} nodes, {first} {named}"


def _with_chance(label: str, chance: float | None) -> str:
    return _name(label) if chance is None else f"{_name(label)} {digits(chance)}"


def _target_caption(step: Step) -> str:
    nodes = step.tree.nodes
    texts = step.text_of()
    first = [node for node in nodes[1:] if node.parent == 0 and node.target_prob is not None]
    said = f"Target: one forward scores {f'all {len(nodes)} nodes' if len(nodes) > 1 else 'the last token alone'}"
    if not first:
        return said
    best = max(first, key=lambda node: node.target_prob or 0.0)
    if not best.target_prob:
        return f"{said}; it gives none of the first level any probability"
    return f"{said}; of the first level it likes {_name(node_label(best, texts))} best, {digits(best.target_prob)}"


def draft_ran(step: Step, rules: HeadSlots | None = None) -> bool | None:
    """Whether a draft model ran nodes of this tree; else they come from the text, or there are none. None where that
    was not recorded. ``rules`` are those of a draft head's cache."""
    change = step.caches.draft
    if rules is not None and rules.kind == "none":
        # Without slots its forward is known by the time it took.
        spent = step.timings.draft if step.timings else None
        return None if spent is None else spent > 0
    if change and change.appended:
        return True
    if step.tree.builder is not None:
        return False  # of specviz's own trees every slot that a draft wrote is known
    return True if any(node.draft for node in step.tree.nodes) else None


def _decision_caption(step: Step, verdict: Verdict, decision: Decision, walk: bool) -> str:
    name = _name(node_label(step.tree.nodes[decision.node], step.text_of()))
    passed = decision.outcome != "rejected"
    outcome = "rejected" if not passed else "accepted" if walk else "passes"
    odd = "" if _holds(step, decision) in (None, passed) else "; these numbers do not give this outcome"
    residual = f"; what is left of the target has mass {digits(decision.residual.mass)}" if decision.residual else ""
    return f"{verdict.verifier}: {comparison(step, decision)} → {outcome} {name}{odd}{residual}"


def comparison(step: Step, decision: Decision) -> str:
    """What was compared with what, and how that came out: by the numbers, whatever the outcome says."""
    holds = _holds(step, decision)
    if decision.comparison is None or (decision.threshold is None and not decision.comparison.startswith("token")):
        return "what was compared was not recorded"
    if decision.comparison == "uniform < threshold" and decision.threshold is not None:
        if decision.uniform is None:
            return f"threshold {digits(decision.threshold)}, no coin"
        u, threshold = apart(decision.uniform, decision.threshold)
        p, q = decision.p, decision.q
        ratio = decision.rule.startswith("u < p/q") and p is not None and q is not None
        against = f"p/q {digits(p)}/{digits(q)} = {threshold}" if ratio else f"{decision.rule[4:]} {threshold}"
        return f"u {u} {'<' if holds else '≥'} {against}"
    if decision.comparison == "p > threshold" and decision.threshold is not None:
        if decision.p is None:
            return f"threshold {digits(decision.threshold)}"
        p_said, threshold = apart(decision.p, decision.threshold)
        return f"p {p_said} {'>' if holds else '≤'} {threshold}"
    chosen = "drew" if decision.comparison == "token = drawn" else "likes best"
    if decision.expected is None:
        return f"the target {chosen} no token"
    texts = step.text_of()
    expected = _name(token_label(token_of(decision.expected, texts)))
    own = step.tree.nodes[decision.node]
    return f"the target {chosen} {expected}" + ("" if holds else f", not {_name(node_label(own, texts))}")


def _holds(step: Step, decision: Decision) -> bool | None:
    """Whether the recorded comparison holds; None where one side of it was not recorded."""
    threshold = decision.threshold
    if decision.comparison == "uniform < threshold":
        return None if decision.uniform is None or threshold is None else decision.uniform < threshold
    if decision.comparison == "p > threshold":
        return None if decision.p is None or threshold is None else decision.p > threshold
    return (
        None
        if decision.comparison is None or decision.expected is None
        else decision.expected == step.tree.nodes[decision.node].token
    )


def _verdict_caption(step: Step, verdict: Verdict) -> str:
    count = len(verdict.path)
    said = f"{verdict.verifier} accepts {_path(step, verdict)}" if count else f"{verdict.verifier} accepts nothing"
    bonus = verdict.bonus
    if bonus is None:
        return f"{said}; no bonus token was recorded"
    uniform = "" if bonus.uniform is None else f" with u {digits(bonus.uniform)}"
    source = {"target": "target", "residual": "residual", "truncated": "truncated target", "argmax": "argmax"}
    drawn = f" from the {source[bonus.source]}" if bonus.source else ""
    return f"{said}; bonus token {_bonus_name(step, bonus)}{drawn} at node {bonus.node}{uniform}"


def _commit_caption(step: Step) -> str:
    texts = step.text_of()
    added = listed(step.committed, lambda token: _name(token_label(token_of(token, texts)))) or "nothing"
    said = f"Commit: {step.driver} is the driver, so the text grows by {added}"
    cut = len(step.emitted()) - len(step.committed) if step.end_reason else 0
    return said + (f" (cut by {cut}: {step.end_reason})" if cut > 0 else "")


def _cache_caption(step: Step, rules: HeadSlots | None) -> str:
    models = (("target", step.caches.target, None), ("draft", step.caches.draft, rules))
    return f"Cache update: {'; '.join(_change(step, name, change, own) for name, change, own in models if change)}"


def _change(step: Step, model: str, change: CacheChange, rules: HeadSlots | None) -> str:
    """What became of the slots, by their fingerprints: the recorded moves are only what was meant."""
    length = f", length {change.length_after}" if change.length_after is not None else ""
    if change.fingerprints_after is None or change.fingerprints_before is None or change.length_before is None:
        return f"what became of the {model}'s slots was not recorded{length}"
    if rules is not None and rules.kind == "none":
        return f"the {model} is a head without a cache"
    if not change.appended:
        return f"{model} ran nothing{length}"
    rows = after_rows(step, change, rules)
    kept = [(change.appended[left.held].slot, left.slot) for left in rows if left.held is not None]
    moves = [(source, slot) for source, slot in kept if source != slot]
    listed = ", ".join(f"{a}→{b}" for a, b in moves[:LISTED]) + (" …" if len(moves) > LISTED else "")
    moved = f" ({len(moves)} moved: {listed})" if moves else ""
    wrong = sum(not left.good for left in rows if left.held is not None)
    unknown = len(rows) - len(kept)
    fault = f", {wrong} of them not due there" if wrong else ""
    fault += f", {unknown} left with what no slot of this step held" if unknown else ""
    stale = max(0, len(change.appended) - len(rows))
    left = f", {stale} stale" if stale else ""
    of = f"{len(kept)} of {len(change.appended)} new slots"
    return f"{model} keeps {of}{moved}{fault}{left}{length}"


def _path(step: Step, verdict: Verdict) -> str:
    texts = step.text_of()
    return listed(verdict.path, lambda node: _name(node_label(step.tree.nodes[node], texts)))


def _bonus_name(step: Step, bonus: Bonus) -> str:
    return _name(token_label(token_of(bonus.token, step.text_of(), bonus.text)))


def _name(label: str) -> str:
    return f"“{shorten(label, NAME_COLUMNS)}”"
