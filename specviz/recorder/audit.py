"""Audit a run: sum up what was checked of its steps, check what the file alone can tell, and ask the models.

What needs whole rows was checked while they were there (:mod:`specviz.recorder.checks`); its results are in the steps.
"""

from __future__ import annotations

import math
from typing import Any

from specviz.digits import digits
from specviz.errors import shown
from specviz.recorder.checks.calibration import BONUS, CALIBRATIONS, COMMITTED, DRAFT
from specviz.recorder.findings import ABOUT, HEAD_ROWS, Finding, NotRun, Place, Weight, in_order
from specviz.recorder.kept import checks_of
from specviz.trace.checks import Check
from specviz.trace.metrics import difference_text, tolerances
from specviz.trace.schema import HeadInfo, Step, Trace
from specviz.trace.stop_strings import completed

DEVIATIONS = 4.5
"""A calibration is a finding where its score is further from 0 than so many standard deviations, and"""
NATS_ABOVE, NATS_BELOW = 15.0, 5.0
"""so many nats more. The nats are for sums of few or very uneven terms: a token of probability 1e-6 alone is worth 14.
Measured by ``python -m tests.tools.false_alarms``: of sound runs of 200 steps that are looked at after each step, at
most 2 in 1,000 raise one, of the most uneven rows there are, and fewer than 1 in 2,000 of rows as models have them."""

_COMPARED = {
    DRAFT: ("The first siblings", "the draft's rows that they are judged by"),
    BONUS: ("The bonus tokens", "the rows that they are drawn from"),
    COMMITTED: ("The committed tokens", "the target's rows"),
}
"""What a calibration is about, and the rows that say how surprising it should be."""
PROCESSORS = ("processors", "draft_processors")
_LOSSLESS_RULES = ("rejection", "traversal", "naive")


def audit(trace: Trace, target: Any = None, draft: Any = None, *, dtype: str = "auto") -> list[Finding | NotRun]:
    """Everything that is wrong with a run, as far as it can be told.

    Args:
        target, draft: the models, by name as :func:`specviz.record` takes them, or as they are (of transformers, or
            loaded by specviz); None: what needs them could not run.
        dtype: the number format that models given by name are loaded in.

    Raises:
        ModelError: if a model cannot be found or read.

    Returns:
        Findings by weight, then the checks that could not run. A run without errors and warnings is sound as far as
        was checked.
    """
    checks = _all_checks(trace)
    for name, model in (("target", target), ("draft", draft)):
        if model is not None:  # which is asked anew
            for step in checks:
                step.pop(f"{name}_rows", None)
    findings: list[Finding] = []
    not_run: dict[str, str] = {}
    for name in CALIBRATIONS:
        _calibration(name, trace, checks, findings, not_run)
    _failed(trace, checks, findings, not_run)
    _failed_steps(trace, findings)
    _text_end(trace, findings, not_run)
    _cache_audits(trace, findings)
    for name, model in (("target", target), ("draft", draft)):
        if model is None and not any(f"{name}_rows" in step for step in checks):
            not_run[f"{name}_rows"] = f"the {name} model (--{name})"
    if target is not None or draft is not None:
        from specviz.recorder.model_audit import audit_rows

        rows, lacking = audit_rows(trace, target, draft, dtype=dtype)
        findings += rows
        not_run = {name: lacks for name, lacks in not_run.items() if not any(one.check == name for one in rows)}
        not_run.update(lacking)
    return [*in_order(findings), *(NotRun(name, not_run[name]) for name in ABOUT if name in not_run)]


def fails(found: list[Finding | NotRun]) -> bool:
    """Whether an error or a warning is among them."""
    return any(isinstance(one, Finding) and one.weight != "note" for one in found)


def is_alarm(score: float, variance: float) -> bool:
    """Whether a calibration's sum is too far from 0 for chance; see :data:`DEVIATIONS`."""
    slack = NATS_ABOVE if score > 0 else NATS_BELOW
    return variance > 0 and abs(score) > DEVIATIONS * math.sqrt(variance) + slack


def _all_checks(trace: Trace) -> list[dict[str, Check]]:
    """Of each step by name: those that ran while the rows were there, and those that what was kept allows now."""
    text = list(trace.prompt_tokens)
    checks = []
    for position, step in enumerate(trace.steps):
        found = {check.name: check for check in step.checks}
        for check in (*checks_of(step, text, _head_of(trace, position)), _kept_draft_calibration(step)):
            # What could not be checked then lacked what the file holds a guess of, if anything.
            found.setdefault(check.name, check)
        checks.append(found)
        text += step.committed
    return checks


def _head_of(trace: Trace, position: int) -> HeadInfo | None:
    """What the draft of a step is, where it is a head and no language model; specviz's own head stands over one."""
    draft = trace.models_of(position).draft
    return None if draft is None or draft.head is None or draft.head.format == "hidden_state" else draft.head


def _kept_draft_calibration(step: Step) -> Check:
    """From the three numbers of a family that a trace keeps: q of its first child, entropy and variance of its row."""
    nodes = step.tree.nodes
    terms = []
    if step.tree.proposal in ("without_replacement", "with_replacement"):
        for node in nodes[1:]:
            row = nodes[node.parent].draft
            if node.rank or row is None or row.entropy is None or row.variance is None or not node.draft_prob:
                continue
            terms.append((-math.log(node.draft_prob) - row.entropy, row.variance))
    if not terms:
        return Check(name=DRAFT, compared=0, lacked="the draft's rows of siblings that were drawn by chance")
    scores, variances = zip(*terms, strict=True)
    return Check(name=DRAFT, compared=len(terms), score=math.fsum(scores), variance=math.fsum(variances))


def _calibration(
    name: str, trace: Trace, checks: list[dict[str, Check]], findings: list[Finding], not_run: dict[str, str]
) -> None:
    ran = [(step, steps[name]) for step, steps in enumerate(checks) if name in steps and steps[name].compared]
    score = variance = 0.0
    first: int | None = None
    for step, check in ran:
        score += check.score or 0.0
        variance += check.variance or 0.0
        if first is None and is_alarm(score, variance):
            first = step
    if not ran:
        return  # what it lacked is told with all the others
    if not variance > 0:
        not_run[name] = (
            "rows in which log p varies: its variance is 0 where one token has all probability, as in greedy decoding, "
            "and where all that have any have the same"
        )
        return
    tokens = sum(check.compared for _, check in ran)
    z = score / math.sqrt(variance)
    what, row = _COMPARED[name]
    numbers = f"z = {digits(z, 2)} ({digits(score)} nats over {tokens} tokens)"
    if not is_alarm(score, variance):
        sentence = f"{what} are as surprising as {row} say: {numbers}."
        findings.append(Finding(name, "note", None, None, sentence, "they fit", ABOUT[name].place))
        return
    how = "more" if score > 0 else "less"
    sentence = f"{what} are {how} surprising than {row} say, from step {(first or 0) + 1} on: {numbers}."
    weight: Weight = "error"
    if name != DRAFT and not _says_lossless(trace):
        sentence += " The engine does not say that it samples as the target does."
        weight = "note"
    step = first if first is not None else ran[-1][0]
    findings.append(Finding(name, weight, step, None, sentence, ABOUT[name].meaning, ABOUT[name].place))


def _says_lossless(trace: Trace) -> bool:
    """Whether the engine promises the target's law: by its word, or by the rule that it says it has."""
    if trace.engine is None:
        return False
    if trace.engine.lossless is not None:
        return trace.engine.lossless
    return trace.engine.rule in _LOSSLESS_RULES


def _failed(trace: Trace, checks: list[dict[str, Check]], findings: list[Finding], not_run: dict[str, str]) -> None:
    """One finding for each check that failed, with the first step where it did; and those that never ran."""
    names = [name for name in ABOUT if any(name in step for step in checks)]
    for name in names:
        ran = [(position, step[name]) for position, step in enumerate(checks) if name in step]
        failed = [(position, check) for position, check in ran if check.failed]
        compared = sum(check.compared for _, check in ran)
        if failed:
            # By which text rows were processed shows best where it matters most.
            step, check = max(failed, key=lambda one: one[1].worst or 0.0) if name in PROCESSORS else failed[0]
            many = sum(check.failed for _, check in failed)
            said = (check.message or "It does not fit").rstrip(".")
            counted = f"; {many} of {compared} comparisons failed, in {len(failed)} of {len(ran)} steps"
            about = ABOUT[name]
            sentence = f"Step {step + 1}: {said}{counted if compared > 1 else ''}."
            meaning = HEAD_ROWS if name == "draft_rows" and _head_of(trace, step) else about.meaning
            findings.append(Finding(name, about.weight, step, check.node, sentence, meaning, about.place))
        elif compared and name not in CALIBRATIONS:  # what these say was told before
            sentence = f"{compared} comparisons in {sum(check.compared > 0 for _, check in ran)} steps, none failed."
            findings.append(Finding(name, "note", None, None, sentence, "they fit", ABOUT[name].place))
        elif not compared:
            lacked = [check.lacked for _, check in ran if check.lacked]
            not_run.setdefault(name, max(lacked, key=lacked.count) if lacked else "anything to compare")


def _failed_steps(trace: Trace, findings: list[Finding]) -> None:
    """Steps that raised: one finding, with the first; no finding where there is none."""
    failures = [*trace.failures, *([trace.failed] if trace.failed else [])]
    if not failures:
        return
    about, first = ABOUT["failed_steps"], failures[0]
    ended = "the loop went on" if trace.failures else "the run ended"
    count = "" if len(failures) == 1 else f"; {len(failures)} steps failed"
    message = first.message.rstrip(".") or "without a message"
    sentence = f"Step {first.index + 1}: Failed, and {ended}: {message}{count}."
    # Where nothing came in its place, the run has no such step.
    step = first.index if first.index < len(trace.steps) else None
    findings.append(Finding("failed_steps", about.weight, step, None, sentence, about.meaning, about.place))


def _text_end(trace: Trace, findings: list[Finding], not_run: dict[str, str]) -> None:
    """Nothing follows an end of sequence or a stop string, and no step but the last keeps less than it emitted."""
    name, about = "text_end", ABOUT["text_end"]
    ends, stops = {*trace.end_tokens}, trace.engine.stop if trace.engine else ()

    def found(step: Step, sentence: str) -> None:
        findings.append(
            Finding(
                name, about.weight, step.index, None, f"Step {step.index + 1}: {sentence}", about.meaning, about.place
            )
        )

    if not ends and not stops:
        not_run[name] = "the tokens that end a text (end_tokens)"
        return None
    texts, tokens = dict(trace.prompt_text_of), list(trace.prompt_tokens)
    for step in trace.steps:
        last = step is trace.steps[-1]
        texts.update(step.text_of())
        for place, token in enumerate(step.committed if stops else (), start=1):
            tokens.append(token)
            try:
                stop = completed(stops, tokens, texts.__getitem__)
            except KeyError:
                stops, not_run[name] = (), "the texts of all tokens, to look for stop strings in (decode)"
                break
            if stop is not None and (place < len(step.committed) or not last):
                after = len(step.committed) - place
                more = f"{after} more token{'s' * (after > 1)}" if after else "further steps"
                ends_in = f"which token {token} completes"
                return found(
                    step, f"the text goes on after its stop string {shown(stop.string)}, {ends_in}, with {more}."
                )
        if not ends:
            continue
        end = next((place for place, token in enumerate(step.committed) if token in ends), None)
        if end is not None and (end + 1 < len(step.committed) or not last):
            after = len(step.committed) - end - 1
            more = f"{after} more token{'s' * (after > 1)}" if after else "further steps"
            return found(step, f"the text goes on after its end token {step.committed[end]}, with {more}.")
        if end is None and not last and len(step.committed) < len(step.emitted()):
            kept, emitted = len(step.committed), len(step.emitted())
            return found(step, f"{kept} of {emitted} emitted tokens were committed, without an end token among them.")
    return None


def _cache_audits(trace: Trace, findings: list[Finding]) -> None:
    """Audits that specviz's own engine recorded."""
    about = ABOUT["cache_audit"]
    for model in ("target", "draft"):
        over = []
        for position, step in enumerate(trace.steps):
            change = step.caches.target if model == "target" else step.caches.draft
            if change is not None and change.audit is not None:
                limit = tolerances(trace.models_of(position)).get(model)
                if limit is not None and change.audit.worst() > limit:
                    over.append((position, change.audit.worst(), limit))
        if over:
            step_, worst, limit = over[0]
            sentence = (
                f"Step {step_ + 1}: the {model}'s cache differs from a recompute by {difference_text(worst)} where "
                f"{digits(limit, 1)} is allowed; so it does in {len(over)} steps."
            )
            weight: Weight = "error" if model == "target" else "warning"
            place: Place = "cache" if model == "target" else "draft cache"
            findings.append(Finding("cache_audit", weight, step_, None, sentence, about.meaning, place))
