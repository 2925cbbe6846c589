"""What specviz's own engine records of every step, and other engines need not.

Each function says what a part of an own run lacks, for a sentence; None for nothing.
"""

from __future__ import annotations

from pydantic import BaseModel

from specviz.trace.cache_change import Caches
from specviz.trace.draft_tree import DraftTree, Row
from specviz.trace.failed_step import FailedStep
from specviz.trace.run_inputs import ModelInfo, Models
from specviz.trace.timings import Timings
from specviz.trace.verdict import Verdict

_OF_MODEL = ("architecture", "parameters", "layers", "vocabulary", "dtype", "device")
_OF_ROW = ("entropy", "raw", "processed")
_OF_SLOT = ("slot", "position", "sees", "sees_before")
_OF_DECISION = ("comparison", "threshold", "reason")
_OF_BONUS = ("text", "source", "distribution")
_OF_TIMINGS = ("draft", "target", "build", "verify", "commit", "record")


def models_fault(models: Models) -> str | None:
    """What the models lack."""
    for role in ("target", "draft"):
        model: ModelInfo | None = getattr(models, role)
        if model is None:
            return f"does not say which {role} it ran"
        if lacks := lacking(model, _OF_MODEL):
            return f"does not say the {lacks} of its {role}"
    return None


def failed_fault(failed: FailedStep) -> str | None:
    """The same of a step that failed. How far it came it says itself."""
    if lacks := lacking(failed, ("builder", "proposal")):
        return f"lacks its {lacks}"
    if unknown := {node.token for node in failed.nodes} - {token.id for token in failed.tokens}:
        return f"has no text for token {min(unknown)}"
    return None


def tree_fault(tree: DraftTree) -> str | None:
    """The same of a step's tree."""
    if lacks := lacking(tree, ("builder", "proposal")):
        return f"lacks its {lacks}"
    for node in tree.nodes:
        if node.text is None:
            return f"has no text for node {node.id}"
        if node.target is None or _row_fault(node.target):
            return f"has no whole target row at node {node.id}"
        if node.draft is not None and _row_fault(node.draft):
            return f"has no whole draft row at node {node.id}"
        if node.id and tree.nodes[node.parent].draft is None:
            return f"has children and no draft row at node {node.parent}"
    return None


def _row_fault(row: Row) -> str | None:
    return lacking(row, _OF_ROW)


def timings_fault(timings: Timings | None) -> str | None:
    """The same of a step's timings."""
    if timings is None:
        return "lacks its timings"
    return f"lacks the seconds of its phase {lacks}" if (lacks := lacking(timings, _OF_TIMINGS)) else None


def verdict_fault(verdict: Verdict) -> str | None:
    """The same of one verifier's verdict."""
    name, bonus = verdict.verifier, verdict.bonus
    if verdict.lossless == "unknown":
        return f"does not say what is proved of {name}"
    if None in verdict.thresholds:
        return f"lacks a threshold of {name}"
    for decision in verdict.decisions:
        if lacks := lacking(decision, _OF_DECISION):
            return f"lacks the {lacks} of {name} at node {decision.node}"
    if bonus is None:
        return f"lacks the bonus token of {name}"
    if lacks := lacking(bonus, _OF_BONUS):
        return f"lacks the {lacks} of {name}'s bonus token"
    coins = [bonus.uniform, *(decision.uniform for decision in verdict.decisions)]
    if 0.0 in coins or 1.0 in coins:
        return f"has a coin of {name} that is 0 or 1"
    return None


def caches_fault(caches: Caches) -> str | None:
    """The same of what a step did to both caches."""
    for name, change in (("target", caches.target), ("draft", caches.draft)):
        if change is None:
            return f"lacks the {name}'s cache"
        if not change.is_whole:
            return f"lacks a part of the {name}'s cache"
        for slot in change.appended:
            if lacks := lacking(slot, _OF_SLOT):
                return f"lacks {lacks} of a slot of the {name}'s cache"
    return None


def lacking(value: BaseModel, fields: tuple[str, ...]) -> str | None:
    """The first of these fields that is null."""
    return next((field for field in fields if getattr(value, field) is None), None)
