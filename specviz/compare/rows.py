"""The tables of a comparison: their columns, and the rows that recorded steps become.

Every value of a row is read from the recorded :class:`~specviz.trace.schema.Step`; docs/comparison.md has the columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from specviz.trace.metrics import new_tokens_at, node_acceptance
from specviz.trace.schema import Decision, Step, Trace, Verdict

if TYPE_CHECKING:  # at run time it would import torch
    from specviz.compare.divergence import Divergence

Row = dict[str, Any]

SAMPLING = "sampling"
"""Label of ordinary sampling: the target alone, a token a step. What free-running outputs are measured against."""
NO_DRAFT = "no draft"
"""Label of its tree, which has no nodes."""

KEY = {
    "mode": ("string", "`paired`: every verifier judged this tree; `free`: this verifier's own run"),
    "prompt_id": ("string", "id of the prompt"),
    "kind": ("string", "kind of prompt"),
    "tree": ("string", "label of the tree"),
    "temperature": ("double", "of the target"),
}
"""Columns that all tables begin with: name -> (type in Arrow's words, meaning)."""

DRAFT = {
    "draft_label": ("string", "label of the draft that drew the tree; null for one draft without a label, and for none")
}
"""Column that all tables ended with first. Files of 0.1.0 lack it."""

PROCESSORS = {"processors_label": ("string", "label of the set of processors; null where sets are not compared")}
"""Column that all tables end with. Older files lack it."""

OPTIMA = {
    "nodes_reached": (
        "int32",
        "with `--record-optimum`: nodes with children that the walk reached; null for a rule that does not decide node "
        "by node",
    ),
    "expected": ("double", "likewise: sum over them of the acceptance that the rule could expect, given the children"),
    "optimum": (
        "double",
        "likewise: sum of the largest acceptance of a rule that decides node by node and keeps the law",
    ),
}
"""Columns of steps, after :data:`DRAFT`: null where the optimum was not recorded. Older files lack them."""

STEPS = (
    KEY
    | {
        "step": ("int32", "index of the step in its run, from 0"),
        "verifier": ("string", "label of the verifier"),
        "driver": ("bool", "whether this verifier's verdict was committed"),
        "context": ("int32", "committed tokens before the step, the prompt included"),
        "proposal": ("string", "how siblings were proposed"),
        "nodes": ("int32", "drafted nodes, the root not counted"),
        "lossless": (
            "string",
            "what is proved for these options and proposal: `yes`, `no`, `greedy decoding`, `not proved`",
        ),
        "accepted": ("int32", "accepted draft tokens: the length of the path"),
        "emitted": ("int32", "accepted + 1, the bonus, before any cut"),
        "new_tokens": (
            "int32",
            "emitted, without the bonus where the path ended the text: what block efficiency counts",
        ),
        "end_has_children": ("bool", "whether the last accepted node (or the root) had children to accept"),
        "decisions": ("int32", "decisions taken"),
        "path": ("list<int32>", "accepted nodes, downwards"),
        "path_tokens": ("list<int32>", "their tokens"),
        "bonus_token": ("int32", "the token after the path"),
        "bonus_source": ("string", "what it was drawn from: `target`, `residual`, `truncated` or `argmax`"),
        "bonus_uniform": ("double", "the uniform number it was drawn with; null where none was"),
        "committed": ("int32", "driver only: tokens that became text, after the cut at the end; null for others"),
        "first_tv": (
            "double",
            "total variation between the law of the step's first token given this tree and the target",
        ),
        "first_kl": ("double", "KL divergence of that law to the target, nats; null where infinite"),
        "first_tv_bound": (
            "double",
            "total variation between that law and rejection's on this tree; 0 where the verifier is proved lossless",
        ),
        "first_excess": ("double", "mean surprise of that law under the target, less the target's entropy, nats"),
    }
    | DRAFT
    | OPTIMA
    | PROCESSORS
)

DECISIONS = (
    KEY
    | {
        "step": ("int32", "index of the step in its run"),
        "verifier": ("string", "label of the verifier"),
        "decision": ("int32", "index of the decision in its step and verifier, in the order they were taken"),
        "node": ("int32", "the drafted node it is about"),
        "parent": ("int32", "its parent; 0 is the root"),
        "depth": ("int32", "1 for children of the root"),
        "rank": ("int32", "draw order among its siblings, from 0"),
        "token": ("int32", "its token"),
        "text": ("string", "the token's text"),
        "rule": ("string", "the rule in symbols"),
        "comparison": ("string", "what was compared: `uniform < threshold`, `p > threshold`, `token = drawn`, ..."),
        "threshold": ("double", "the threshold"),
        "p": ("double", "target probability as the rule used it, after earlier siblings were rejected"),
        "q": ("double", "draft probability as the rule used it; 1 for top-k siblings"),
        "uniform": ("double", "the coin, or the uniform number a token was drawn with; null where there was none"),
        "expected": ("int32", "the token it was compared with, for rules that compare tokens"),
        "outcome": ("string", "`accepted`, `rejected`, or `passed, not chosen`"),
        "residual_mass": ("double", "mass of max(p - q, 0) after a rejection, for rules that have residuals"),
        "target_prob": ("double", "of the token in its parent's target row, whatever was rejected before"),
        "draft_prob": ("double", "of the token in its parent's draft row"),
        "target_entropy": ("double", "of the parent's target row, nats"),
        "draft_entropy": ("double", "of the parent's draft row, nats"),
    }
    | DRAFT
    | PROCESSORS
)

OUTPUTS = (
    KEY
    | {
        "verifier": ("string", "label of the verifier that committed"),
        "seed": ("int64", "of the run: a hash of the comparison's seed and the prompt's id"),
        "chat": ("bool", "whether the prompt was wrapped in the chat template"),
        "prompt": ("string", "the prompt"),
        "reference": ("string", "a good answer, where the prompt has one"),
        "prompt_tokens": ("int32", "how many tokens the prompt has"),
        "steps": ("int32", "steps of the run: target forwards"),
        "tokens": ("list<int32>", "the output"),
        "text": ("string", "its text"),
        "end_reason": ("string", "`end of sequence`, `stop string`, `max_new_tokens`, `context limit` or `error`"),
        "message": ("string", "for `error`: what was said"),
        "nll": ("double", "free: -log probability of the output under the target at temperature 1, nats, summed"),
        "nll_sampled": ("double", "the same under the distribution that was sampled from; null where infinite"),
        "distinct_1": ("double", "free: different tokens / tokens of the output, its end token left out"),
        "distinct_2": ("double", "free: different pairs of neighbouring tokens / pairs"),
        "rouge_l": ("double", "free: ROUGE-L F1 of the text against the reference, 0 to 1; null without one"),
        "chrf": ("double", "free: chrF2 of the text against the reference, 0 to 100; null without one"),
        "target": ("string", "the target model, with its revision"),
        "draft": ("string", "the draft model, with its revision"),
    }
    | DRAFT
    | PROCESSORS
)

DIVERGENCES = ("first_tv", "first_kl", "first_tv_bound", "first_excess")
"""Columns of steps that a :class:`~specviz.compare.divergence.Divergence` fills."""

TABLES = {"steps": STEPS, "decisions": DECISIONS, "outputs": OUTPUTS}


def columns_of(table: str, names: Sequence[str]) -> list[str] | None:
    """The names as columns of a table, where they are all of them, or those of an earlier version down to 0.1.0; else
    None."""
    known = [list(TABLES[table])]
    for added in (PROCESSORS, OPTIMA if table == "steps" else {}, DRAFT):
        known.append([column for column in known[-1] if column not in added])
    return list(names) if list(names) in known else None


@dataclass(frozen=True)
class Rows:
    """Rows of one unit or more, each a dict with exactly the columns of its table."""

    steps: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    outputs: list[Row] = field(default_factory=list)

    def table(self, name: str) -> list[Row]:
        """The rows of one of :data:`TABLES`."""
        rows: list[Row] = getattr(self, name)
        return rows


def step_rows(key: Row, labels: Row, trace: Trace, found: Sequence[Mapping[str, Divergence]]) -> Iterator[Row]:
    """One row for each step and verifier.

    Args:
        key: the columns of :data:`KEY`.
        labels: the columns of :data:`DRAFT` and :data:`PROCESSORS`.
        found: what was found out about each step's verifiers while it ran.
    """
    for position, (step, divergences) in enumerate(zip(trace.steps, found, strict=False)):
        parents = {node.parent for node in step.tree.nodes}
        for name, verdict in step.verdicts.items():
            tokens = [step.tree.nodes[node].token for node in verdict.path]
            is_driver = name == step.driver
            at = node_acceptance([step], name)
            divergence, bonus = divergences.get(name), verdict.known_bonus()
            yield key | {
                "step": step.index,
                "verifier": name,
                "driver": is_driver,
                "context": step.context,
                "proposal": step.tree.proposal,
                "nodes": len(step.tree.nodes) - 1,
                "lossless": verdict.lossless,
                "accepted": len(verdict.path),
                "emitted": len(verdict.path) + 1,
                "new_tokens": new_tokens_at(trace, position, name),
                "end_has_children": bonus.node in parents,
                "decisions": len(verdict.decisions),
                "path": list(verdict.path),
                "path_tokens": tokens,
                "bonus_token": bonus.token,
                "bonus_source": bonus.source,
                "bonus_uniform": bonus.uniform,
                "committed": len(step.committed) if is_driver else None,
                **{name: getattr(divergence, name, None) for name in DIVERGENCES},
                **labels,
                "nodes_reached": at and at.nodes,
                "expected": at and at.expected,
                "optimum": at and at.optimum,
            }


def decision_rows(key: Row, labels: Row, steps: Iterable[Step]) -> Iterator[Row]:
    """One row for each decision."""
    for step in steps:
        for verdict in step.verdicts.values():
            for index, decision in enumerate(verdict.decisions):
                yield _decision_row(key, step, verdict, index, decision) | labels


def _decision_row(key: Row, step: Step, verdict: Verdict, index: int, decision: Decision) -> Row:
    node = step.tree.nodes[decision.node]
    parent = step.tree.nodes[node.parent]
    return key | {
        "step": step.index,
        "verifier": verdict.verifier,
        "decision": index,
        "node": node.id,
        "parent": node.parent,
        "depth": node.depth,
        "rank": node.rank,
        "token": node.token,
        "text": node.text,
        "rule": decision.rule,
        "comparison": decision.comparison,
        "threshold": decision.threshold,
        "p": decision.p,
        "q": decision.q,
        "uniform": decision.uniform,
        "expected": decision.expected,
        "outcome": decision.outcome,
        "residual_mass": None if decision.residual is None else decision.residual.mass,
        "target_prob": node.target_prob,
        "draft_prob": node.draft_prob,
        "target_entropy": None if parent.target is None else parent.target.entropy,
        "draft_entropy": None if parent.draft is None else parent.draft.entropy,
    }
