"""What specviz's own engine records of every step, and other engines need not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from specviz.trace.cache_change import CacheChange
from specviz.trace.draft_tree import Row
from specviz.trace.run_inputs import ModelInfo, Models
from specviz.trace.verdict import Verdict

if TYPE_CHECKING:
    from specviz.trace.schema import FailedStep, Step

_OF_MODEL = ("architecture", "parameters", "layers", "vocabulary", "dtype", "device")
_OF_ROW = ("entropy", "raw", "processed")
_OF_SLOT = ("slot", "position", "sees", "sees_before")
_OF_DECISION = ("comparison", "threshold", "reason")
_OF_BONUS = ("text", "source", "distribution")
_OF_TIMINGS = ("draft", "target", "build", "verify", "commit", "record")


def models_fault(models: Models) -> str | None:
    """What the models of an own run lack, for a sentence; None for nothing."""
    for role in ("target", "draft"):
        model: ModelInfo | None = getattr(models, role)
        if model is None:
            return f"does not say which {role} it ran"
        if lacks := _lacking(model, _OF_MODEL):
            return f"does not say the {lacks} of its {role}"
    return None


def step_fault(step: Step) -> str | None:
    """In what an own step contradicts itself, or what it lacks, for a sentence; None for nothing."""
    # First what it lacks: what is compared below is there then.
    found = (step.models and models_fault(step.models)) or _tree_fault(step) or _whole_fault(step)
    for verdict in step.verdicts.values():
        found = found or _verdict_fault(verdict)
    for name, change in (("target", step.caches.target), ("draft", step.caches.draft)):
        found = found or (f"lacks the {name}'s cache" if change is None else _cache_fault(change, name))
    return found or _emitted_fault(step)


def failed_fault(failed: FailedStep) -> str | None:
    """The same of an own step that failed. How far it came it says itself."""
    if lacks := _lacking(failed, ("builder", "proposal")):
        return f"lacks its {lacks}"
    if unknown := {node.token for node in failed.nodes} - {token.id for token in failed.tokens}:
        return f"has no text for token {min(unknown)}"
    return None


def _tree_fault(step: Step) -> str | None:
    nodes = step.tree.nodes
    if lacks := _lacking(step.tree, ("builder", "proposal")):
        return f"lacks its {lacks}"
    for node in nodes:
        if node.text is None:
            return f"has no text for node {node.id}"
        if node.target is None or _row_fault(node.target):
            return f"has no whole target row at node {node.id}"
        if node.draft is not None and _row_fault(node.draft):
            return f"has no whole draft row at node {node.id}"
        if node.id and nodes[node.parent].draft is None:
            return f"has children and no draft row at node {node.parent}"
    return None


def _row_fault(row: Row) -> str | None:
    return _lacking(row, _OF_ROW)


def _whole_fault(step: Step) -> str | None:
    if lacks := _lacking(step, ("timings", "prefilled")):
        return f"lacks its {lacks}"
    if step.timings is not None and (lacks := _lacking(step.timings, _OF_TIMINGS)):
        return f"lacks the seconds of its phase {lacks}"
    return None


def _verdict_fault(verdict: Verdict) -> str | None:
    name, bonus = verdict.verifier, verdict.bonus
    if verdict.lossless == "unknown":
        return f"does not say what is proved of {name}"
    if None in verdict.thresholds:
        return f"lacks a threshold of {name}"
    for decision in verdict.decisions:
        if lacks := _lacking(decision, _OF_DECISION):
            return f"lacks the {lacks} of {name} at node {decision.node}"
    if bonus is None:
        return f"lacks the bonus token of {name}"
    if lacks := _lacking(bonus, _OF_BONUS):
        return f"lacks the {lacks} of {name}'s bonus token"
    coins = [bonus.uniform, *(decision.uniform for decision in verdict.decisions)]
    if 0.0 in coins or 1.0 in coins:
        return f"has a coin of {name} that is 0 or 1"
    return None


def _cache_fault(change: CacheChange, name: str) -> str | None:
    if not change.is_whole:
        return f"lacks a part of the {name}'s cache"
    for slot in change.appended:
        if lacks := _lacking(slot, _OF_SLOT):
            return f"lacks {lacks} of a slot of the {name}'s cache"
    return None


def _emitted_fault(step: Step) -> str | None:
    if not step.committed or step.committed != step.emitted()[: len(step.committed)]:
        return "commits other tokens than its driver emits"
    mentioned = {node.token for node in step.tree.nodes}.union(
        step.committed, (verdict.bonus.token for verdict in step.verdicts.values() if verdict.bonus)
    )
    if unknown := mentioned - step.text_of().keys():
        return f"has no text for token {min(unknown)}"
    return None


def _lacking(value: BaseModel, fields: tuple[str, ...]) -> str | None:
    """The first of these fields that is null."""
    return next((field for field in fields if getattr(value, field) is None), None)
