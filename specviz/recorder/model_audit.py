"""Recorded rows against a plain forward of the text: no cache, no mask, no positions of anybody's.

A row says what a model found likely after a text, and the text is known. So whatever is wrong with an engine's cache,
its mask or its positions shows here, without any access to them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from specviz.errors import ModelError
from specviz.models.choices import DTYPES
from specviz.models.head_model import HeadModel
from specviz.models.plain_head import PlainHead
from specviz.recorder.findings import ABOUT, HEAD_ROWS, Finding
from specviz.recorder.head_rows import head_rows
from specviz.recorder.processors import READINGS, Reading, Stated, say_reading
from specviz.recorder.reprocessed import UNKNOWN, Reprocessing
from specviz.recorder.row_parts import Compared, Made, compared
from specviz.trace.checks import Check
from specviz.trace.schema import Option, Row, Step, Trace

EVERY_NODE = 8
"""Steps of which every node's row is recomputed; of the others those of the root and the accepted nodes, which one
forward over the whole text has."""
PROBABILITY = {"float64": 1e-3, "float32": 1e-3, "float16": 0.03, "bfloat16": 0.15}
"""Largest difference of a probability that rounding explains, by number format. docs/audit.md has what was measured."""
NATS = {"float64": 1e-2, "float32": 1e-2, "float16": 0.2, "bfloat16": 1.0}
"""The same for a log-sum-exp, relative to its size where that is above 1, and for an entropy."""
COARSEST = "bfloat16"
"""What a model's format is taken for where it was not recorded."""
_AT_ONCE = 512
"""Positions whose logits exist at one time."""

Which = Literal["target", "draft"]


@dataclass(frozen=True)
class _Plain:
    """A model as it is asked here.

    Attributes:
        reads: whether it reads more than tokens.
    """

    model: Any
    dtype: str
    most: int
    reads: bool

    @property
    def columns(self) -> int:
        """Of its rows."""
        head = self.model.get_output_embeddings()
        return int(self.model.config.get_text_config().vocab_size if head is None else head.weight.shape[0])

    def logits(self, texts: Sequence[Sequence[int]], keep: int) -> torch.Tensor:
        """float32 [texts, keep, V] on the host, of the last positions of texts of one length."""
        device = self.model.get_input_embeddings().weight.device
        known = self.model.get_input_embeddings().num_embeddings
        ids = torch.tensor([[min(token, known - 1) for token in text] for text in texts], device=device)
        with torch.inference_mode():
            try:
                logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits
            except TypeError:  # a model whose forward has no such argument
                logits = self.model(input_ids=ids, use_cache=False).logits
        return logits[:, -keep:].float().cpu()


def audit_rows(trace: Trace, target: Any, draft: Any, *, dtype: str = "auto") -> tuple[list[Finding], dict[str, str]]:
    """Compare the recorded rows of each model that is given.

    Returns:
        What was found, and by check what one lacked that could not run.

    Raises:
        ModelError: if a model cannot be found or read.
    """
    findings: list[Finding] = []
    not_run: dict[str, str] = {}
    for which, found, is_head in _asked(trace, target, draft, dtype):
        name = f"{which}_rows"
        if isinstance(found, str):
            not_run[name] = found
            continue
        finding = _finding(name, which, found)
        findings.append(replace(finding, meaning=HEAD_ROWS) if is_head and finding.weight != "note" else finding)
        checks = [check.name for step in trace.steps for check in step.checks if check.compared]
        if (of := "processors" if which == "target" else "draft_processors") not in checks:
            told = _processors(trace, of, found)
            if isinstance(told, str):
                not_run[of] = told
            elif told is not None:
                findings.append(told)
    return findings, not_run


def with_row_checks(
    trace: Trace, target: Any, draft: Any, *, dtype: str = "auto", every_node: int = EVERY_NODE
) -> Trace:
    """The run with what its models say of its rows among the checks of each step, as ``target_rows`` and
    ``draft_rows``: so an audit finds it, and a page shows it, where no models are.

    Args:
        every_node: steps of which the row of every node is recomputed, see :data:`EVERY_NODE`.

    Raises:
        ModelError: if a model cannot be found or read.
    """
    kept: dict[int, list[Check]] = {}
    for which, found, _ in _asked(trace, target, draft, dtype, every_node):
        if not isinstance(found, str):
            for index, rows in itertools.groupby(sorted(found, key=lambda one: one.step), key=lambda one: one.step):
                kept.setdefault(index, []).append(_check(which, list(rows)))
    names = {check.name for checks in kept.values() for check in checks}
    steps = []
    for step in trace.steps:
        others = [check for check in step.checks if check.name not in names]
        steps.append(step.model_copy(update={"checks": (*others, *kept.get(step.index, ()))}))
    return trace.model_copy(update={"steps": tuple(steps)})


def _check(which: Which, rows: list[Compared]) -> Check:
    """What was compared in one step."""
    wrong = [one for one in rows if one.over > 1]
    worst = max(rows, key=lambda one: one.over)
    first = min(wrong, key=lambda one: one.node) if wrong else None
    said = (
        f"The {which}'s row at node {first.node} is not that of a recompute from the text: its {first.part} differs by "
        f"{first.difference:.2g}"
        if first
        else None
    )
    return Check(
        name=f"{which}_rows",
        compared=len(rows),
        failed=len(wrong),
        worst=min(worst.difference, 1e308),
        node=first.node if first else worst.node,
        message=said,
    )


def _asked(
    trace: Trace, target: Any, draft: Any, dtype: str, every_node: int = EVERY_NODE
) -> Iterator[tuple[Which, list[Compared] | str, bool]]:
    """Of each model that is given the rows that were recomputed, or what that lacked; and whether it is a head."""
    models = _loaded(target, draft, _format(trace) if dtype == "auto" else dtype, _by_hand(trace))
    whiches: tuple[Which, ...] = ("target", "draft")
    for which in whiches:
        model = models.get(which)
        if model is None:
            continue
        info = getattr(trace.models, which)
        if isinstance(model, PlainHead):
            allowed = limits(str(model.model.dtype), info.dtype if info else None)
            yield which, list(compare_head_rows(trace, model, allowed, every_node)) or "the draft's rows", True
            continue
        if model.reads or (info is not None and info.reads):
            lacks = f"a {which} that reads nothing but tokens: this one reads its target's hidden states"
            yield which, lacks, False
            continue
        if getattr(model.model.config, "is_encoder_decoder", False):
            lacks = f"a {which} that reads nothing but its text: what the encoder of this one read is not kept"
            yield which, lacks, False
            continue
        rows = trace.engine.options.get("dtype" if which == "target" else "draft_dtype") if trace.engine else None
        # Rows in float32 may come from a model in bfloat16.
        of_model = info.dtype if info is not None and info.dtype else COARSEST
        found = list(compare_rows(trace, which, model, limits(model.dtype, of_model, rows), every_node))
        yield which, found or _lacked(trace, which, model), False


def _lacked(trace: Trace, which: Which, model: _Plain) -> str:
    """Why no row was compared."""
    steps = list(enumerate(trace.steps))
    recorded = [at for at, step in steps if any(_row(step, node.id, which) is not None for node in step.tree.nodes)]
    if not recorded:
        return f"the {which}'s rows"
    if all(trace.sampling_of(at)[which == "draft"] is None for at in recorded):
        said = "sampling" if which == "target" else "draft_sampling"
        return f"what makes the {which}'s rows of its logits: say {said}= to the recorder"
    return f"the {which}'s rows within the {model.most} positions of the model"


def _format(trace: Trace) -> str:
    """The number format that the run's models had, where it is known and is one that models are loaded in."""
    info = trace.models.target or trace.models.draft
    said = info.dtype.removeprefix("torch.") if info is not None and info.dtype else None
    return said if said in DTYPES else "auto"


def limits(*formats: object) -> tuple[float, float]:
    """What rounding explains, in probability and in nats: by the coarsest of the number formats that are known."""
    known = [one.removeprefix("torch.") for one in formats if isinstance(one, str)]
    return (
        max(PROBABILITY.get(one, PROBABILITY[COARSEST]) for one in known),
        max(NATS.get(one, NATS[COARSEST]) for one in known),
    )


def compare_rows(
    trace: Trace, which: Which, model: _Plain, allowed: tuple[float, float], every_node: int = EVERY_NODE
) -> Iterator[Compared]:
    """Each recorded row that could be recomputed."""
    text, reprocessed = list(trace.prompt_tokens), Reprocessing(trace, draft=which == "draft")
    start, wanted = len(text), []
    for position, step in enumerate(trace.steps):
        made = Made(trace.sampling_of(position)[which == "draft"], reprocessed.at(position, model.columns))
        walked = _walked(step)
        wanted += [(step.index, node, place, made) for node, place in walked.items()]
        if position < every_node and step.context + 1 + max(node.depth for node in step.tree.nodes) <= model.most:
            yield from _other_nodes(step, which, text, {*walked}, model, made, allowed)
        text += step.committed
    # The row after the last token is no node's.
    text = text[: min(len(text), model.most)]
    wanted = [one for one in wanted if one[2] < len(text) and _row(trace.steps[one[0]], one[1], which) is not None]
    if not wanted:
        return
    first = start - 1
    for begin in range(first, len(text), _AT_ONCE):
        end = min(begin + _AT_ONCE, len(text))
        there = [one for one in wanted if begin <= one[2] < end]
        if not there:
            continue
        logits = model.logits([text[:end]], end - begin)[0]
        for index, node, place, made in there:
            row = _row(trace.steps[index], node, which)
            if row is not None:
                yield from compared(trace.steps[index], node, row, logits[place - begin], made, allowed)


def compare_head_rows(
    trace: Trace, head: PlainHead, allowed: tuple[float, float], every_node: int = EVERY_NODE
) -> Iterator[Compared]:
    """Each recorded row of a draft head, see :mod:`specviz.recorder.head_rows`."""
    for index, node, row, logits, sampling in head_rows(trace, head, every_node):
        processors = trace.processors_of(index)
        made = Made(sampling, UNKNOWN if processors and processors.draft else None)
        yield from compared(trace.steps[index], node, row, logits, made, allowed)


def _walked(step: Step) -> dict[int, int]:
    """Node -> its place in the text, of the root and the accepted nodes whose tokens were committed."""
    found = {0: step.context - 1}
    for depth, node in enumerate(step.verdicts[step.driver].path, start=1):
        if depth > len(step.committed) or step.committed[depth - 1] != step.tree.nodes[node].token:
            break
        found[node] = step.context - 1 + depth
    return found


def _row(step: Step, node: int, which: Which) -> Row | None:
    there = step.tree.nodes[node]
    return there.target if which == "target" else there.draft


def _other_nodes(
    step: Step,
    which: Which,
    text: list[int],
    walked: set[int],
    model: _Plain,
    made: Made,
    allowed: tuple[float, float],
) -> Iterator[Compared]:
    """Rows at nodes beside the accepted path: a text of its own for each, the shorter ones filled up at the end."""
    nodes = step.tree.nodes
    others = [node.id for node in nodes if node.id not in walked and _row(step, node.id, which) is not None]
    if not others:
        return
    lines = [[nodes[one].token for one in step.tree.path(node)] for node in others]
    longest = max(map(len, lines))
    texts = [text + line + [line[-1]] * (longest - len(line)) for line in lines]
    logits = model.logits(texts, longest + 1)
    for place, node in enumerate(others):
        row = _row(step, node, which)
        if row is not None:
            yield from compared(step, node, row, logits[place, len(lines[place])], made, allowed)


def _finding(name: str, which: Which, found: list[Compared]) -> Finding:
    worst = max(found, key=lambda one: one.over)
    over = [one for one in found if one.over > 1]
    about = ABOUT[name]
    if not over:
        sentence = (
            f"The {which}'s rows are those of a recompute from the text: of {len(found)} the worst differs by "
            f"{worst.difference:.2g} in its {worst.part}."
        )
        return Finding(name, "note", worst.step, worst.node, sentence, "they fit", about.place)
    first = min(over, key=lambda one: (one.step, one.node))
    sentence = (
        f"Step {first.step + 1}: the {which}'s row at node {first.node} is not that of a recompute from the text: its "
        f"{first.part} differs by {first.difference:.2g}; {len(over)} of {len(found)} rows differ, the worst at step "
        f"{worst.step + 1}, node {worst.node}, by {worst.difference:.2g} in its {worst.part}."
    )
    return Finding(name, about.weight, first.step, first.node, sentence, about.meaning, about.place)


def _processors(trace: Trace, name: str, found: Sequence[Compared]) -> Finding | str | None:
    """What recomputed rows say of the text that processors looked at; what that lacks, or None without processors."""
    who = "draft" if name.startswith("draft") else "target"
    each = [trace.processors_of(position) for position in range(len(trace.steps))]
    said = next((one for one in each if one is not None and (who == "target" or one.draft)), None)
    if said is None:
        return None
    promised = who == "target" and trace.engine is not None and trace.engine.lossless
    due: Reading = "exact" if promised else said.mode
    rows = [one for one in found if due in one.readings]
    stated = Stated(said, len(trace.prompt_tokens), trace.end_tokens)
    if not rows:
        return f"the {who}'s rows with what makes them of its logits, or processors that can be applied here ({stated})"
    about = ABOUT[name]
    over = [one for one in rows if one.readings[due][0] > 1]
    if not over:
        sentence = f"The {who}'s rows are those of {stated} in the mode {due}: of {len(rows)} none differs."
        return Finding(name, "note", rows[0].step, rows[0].node, sentence, "they fit", about.place)
    whole = [one for one in READINGS if all(one in row.readings and row.readings[one][0] <= 1 for row in rows)]
    if not whole and any(one.over > 1 for one in found):
        return f"rows that are those of {stated} by any text: see {who}_rows"
    worst = max(over, key=lambda one: one.readings[due][0])
    node = trace.steps[worst.step].tree.nodes[worst.node]
    named = f"node {node.id} (token {node.token})" if node.id else "the root"
    numbers = {mode: worst.readings[mode][1] for mode in ("exact", "frozen") if mode in worst.readings}
    sentence = f"Step {worst.step + 1}: {say_reading(stated, whole, who, named, numbers, at_least=True)}; "
    sentence += f"{len(over)} of {len(rows)} rows differ."
    return Finding(name, about.weight, worst.step, worst.node, sentence, about.meaning, about.place)


def _by_hand(trace: Trace) -> dict[str, Option]:
    """What the user had set of the draft head that was recorded."""
    head = trace.models.draft.head if trace.models.draft else None
    if head is None:
        return {}
    said = {**head.options, "depth": head.depth, "reads": ",".join(map(str, head.reads))}
    return {name: value for name in head.by_hand if (value := said.get(name)) is not None}


def _loaded(target: Any, draft: Any, dtype: str, by_hand: Mapping[str, Option]) -> dict[str, _Plain | PlainHead]:
    """The models, those that are named loaded; a draft head as it was set by hand when it was recorded."""
    given = {name: one for name, one in (("target", target), ("draft", draft)) if one is not None}
    named = {name: one for name, one in given.items() if isinstance(one, str)}
    if named:
        from specviz.models.loading import load_pair

        # Two names of one model share its weights. The built-in draft is another model than the built-in target.
        both = {"target": target, "draft": draft} if len(named) == 2 else dict.fromkeys(given, *named.values())
        if len(named) == 1 and "default" in named.values():
            both = {"target": "default", "draft": "default"}
        name = next(iter(named.values()))
        options = by_hand if "draft" in named else {}
        pair = load_pair(both.get("target", name), both.get("draft", name), dtype=dtype, head_options=options)
        given |= {which: getattr(pair, which) for which in named}
    if isinstance(head := given.get("draft"), HeadModel):
        given["draft"] = _head(head, given.get("target"))
    return {name: one if isinstance(one, PlainHead) else _plain(one, name) for name, one in given.items()}


def _head(head: HeadModel, target: Any) -> PlainHead:
    """Of a draft head of specviz, and of its target, of transformers or of specviz."""
    inner = getattr(target, "model", target) if hasattr(target, "plain_logits") else target
    if not hasattr(inner, "get_input_embeddings"):
        raise ModelError(f"{head.info.id} is a draft head, whose rows depend on its target; give the target too.")
    return PlainHead(head, inner)


def _plain(model: Any, which: str) -> _Plain:
    """Of a model of transformers, or of a LanguageModel of specviz."""
    head = getattr(model, "head", None)
    inner = getattr(model, "model", model) if hasattr(model, "plain_logits") else model
    if not hasattr(inner, "get_input_embeddings"):
        raise ModelError(f"The {which} is no language model of transformers; give its name, or the model itself.")
    most = getattr(inner.config, "max_position_embeddings", None) or 1 << 30
    return _Plain(inner, str(inner.dtype).removeprefix("torch."), most, head is not None)
