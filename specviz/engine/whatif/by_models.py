"""Answers by the models, which score the recorded tree again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from specviz.drafting import BUILDERS
from specviz.engine.draft_runners import DraftRunner
from specviz.engine.head_runners import draft_runner
from specviz.engine.processed import processed_scores
from specviz.engine.recording import ask_draft_ranks, record_verdict, softmax_edge_probs
from specviz.engine.row_recording import Texts
from specviz.engine.runners import TargetRunner
from specviz.engine.step_values import Verified
from specviz.engine.whatif.luck import QuestionLuck
from specviz.engine.whatif.walk import asked_verifier, walk_with_forced
from specviz.errors import SettingsError
from specviz.models.loading import Pair
from specviz.models.processors import About, make_processing
from specviz.sampling import process
from specviz.trace.identity import caveats, known_weights, refuse_other_models
from specviz.trace.schema import Models, Step, Trace
from specviz.trace.whatif_question import Alternative, Question
from specviz.transfers import Reads, read
from specviz.tree import MAX_NODES, Growth, TokenTree
from specviz.verifiers import edge_probs, verifier_errors
from specviz.verifiers.base import context_of, draw_bonus

EXACT_ROUNDING, COARSE_ROUNDING = 0.01, 0.3
"""How far rounding can move a probability, in float32 and in narrower or quantized formats. Measured: 4e-6 for a run of
the default pair that was scored again on another machine; 0.24 for a small pair with other random weights of the same
shapes."""


def through_models(pair: Pair, trace: Trace, position: int, question: Question) -> Alternative:
    """Answer by scoring the recorded tree again, under the settings of its step.

    Raises:
        SettingsError: for a question without meaning, or a pair that did not record the run.
        TraceError: for another engine's run.
    """
    step, settings = trace.steps[position], trace.own_settings_of(position)
    verifier, options = asked_verifier(question)
    recorded = trace.models_of(position)
    refuse_other_models(pair.models, recorded)
    tokens = [*trace.prompt_tokens, *(token for earlier in trace.steps[:position] for token in earlier.committed)]
    _refuse_unfit(pair, step, tokens)
    with torch.inference_mode():
        reads = Reads()
        about = About(len(trace.prompt_tokens), pair.eos_ids, pair.target.vocabulary, str(pair.target.device))
        processing = make_processing(settings.processors, about)
        draft = draft_runner(pair.draft, reads, pair.target.vocabulary, settings.draft)
        target = TargetRunner(pair.target, reads, draft.reading)
        target.prefill(tokens[:-1], draft.follow)
        if processing and processing.draft:
            draft.processing = processing
        tree = replace(_redraft(draft, step, tokens), committed=tuple(tokens))
        logits = target.score(tree)
        reads.finish()
        if processing is None:
            probs = process(logits, settings.target)
        else:
            probs = processed_scores(processing, logits, tree, tokens, settings.target).probs
        with verifier_errors(verifier):
            judgement = verifier.judge(tree, probs, options).on_host()
        luck = QuestionLuck(trace, position, question, tree.tokens, tree.shape, verifier.comparison)
        with verifier_errors(verifier):
            walk = walk_with_forced(verifier, context_of(tree, judgement, options), luck, question)
            row = judgement.distribution(walk.end)
            bonus = draw_bonus(luck, walk.end, row)
        texts = Texts(pair.token_text)
        verified = Verified(verifier, options, judgement, walk, bonus, row)
        asked = record_verdict(verified, tree, settings, texts, reads)
        draft_ranks = ask_draft_ranks(tree, {verifier.name: verified}, reads)
        difference = _difference(step, tree, probs)
        verdict = asked(draft_ranks().get(verifier.name))
    limit = _rounding(pair.models, recorded)
    said = [caveats(pair.models, recorded)]
    if difference > limit and known_weights(pair.models, recorded):
        said.append(
            f"Rounding explains {limit:g} of that: the code, or single weights that the sampled hash does not see, are "
            "not those of this run."
        )
    elif difference > limit:
        raise SettingsError(
            f"These models give a drafted token a probability {difference:.2g} away from the recorded one, where "
            f"rounding explains {limit:g}, so they are not those of this run, which does not say what weights it had; "
            "choose the ones that recorded it under Settings."
        )
    return Alternative(
        verifier=verifier.name,
        options=dict(options),
        thresholds=tuple(threshold for threshold in verdict.thresholds if threshold is not None),
        decisions=verdict.decisions,
        path=verdict.path,
        bonus=verdict.bonus,
        by="models",
        difference=difference,
        caveat=" ".join(filter(None, said)) or None,
    )


def _refuse_unfit(pair: Pair, step: Step, tokens: list[int]) -> None:
    """Refuse, before anything is run, a step that these models cannot have recorded."""
    nodes = step.tree.nodes
    longest = len(tokens) + max(node.depth for node in nodes)
    if len(nodes) - 1 > MAX_NODES or longest > min(pair.target.max_positions, pair.draft.max_positions):
        raise SettingsError("The tree or the context of this step is larger than these models can have scored.")
    if max(*tokens, *(node.token for node in nodes)) >= pair.target.vocabulary:
        raise SettingsError(
            f"The step has a token that {pair.target.info.id} does not know; it was not recorded with it."
        )


def _redraft(draft: DraftRunner[Any], step: Step, tokens: list[int]) -> TokenTree:
    """The recorded tree with the draft's rows, which the draft computes again for the nodes that it had expanded.

    For a builder that runs no draft, a row has probability at the node's children only, and those were recorded.
    """
    nodes = step.tree.nodes
    growth = Growth.from_root(nodes[0].token)
    for node in nodes[1:]:
        growth.add(node.parent, node.token)
    builder = BUILDERS.get(step.tree.builder or "")
    asks_model = builder is None or builder.runs_draft
    if asks_model:
        draft.prefill(tokens[:-1])
    draft.start_step(tokens)
    children = step.tree.children()
    for depth in range(max(node.depth for node in nodes) + 1):
        expanded = [node.id for node in nodes if node.depth == depth and node.draft is not None]
        if expanded and asks_model:
            growth.add_rows(expanded, draft.expand(growth, expanded))
            draft.reads.finish()  # while their slots are the last ones
        elif expanded:
            shares = [{nodes[c].token: nodes[c].draft_prob or 0.0 for c in children[node]} for node in expanded]
            growth.add_rows(expanded, draft.tabulate(shares))
    assert step.tree.proposal is not None, "an own step says how siblings were proposed"
    return growth.freeze(step.tree.proposal)[0]


def _rounding(loaded: Models, recorded: Models) -> float:
    """How far rounding can move a probability when the same weights score the same tree again."""
    infos = (*loaded.both(), *recorded.both())
    exact = all(one.dtype == "float32" and not one.quantization for one in infos)
    return EXACT_ROUNDING if exact else COARSE_ROUNDING


def _difference(step: Step, tree: TokenTree, probs: torch.Tensor) -> float:
    """The largest difference between a recorded and a computed probability of a drafted token, of either model."""
    if len(tree) == 1:
        return 0.0
    p, q = (column.tolist() for column in read(edge_probs(tree, probs), softmax_edge_probs(tree)))
    found = []
    for node, target_prob, draft_prob in zip(step.tree.nodes[1:], p[1:], q, strict=True):
        found.append(abs(target_prob - (node.target_prob or 0.0)))
        found.append(abs(draft_prob - (node.draft_prob or 0.0)))
    return max(found)
