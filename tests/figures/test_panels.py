"""Columns of the panels below the tree, on real runs and planted faults: caches, masks, audits, totals, bonuses."""

from __future__ import annotations

import json
import math

import pytest

from specviz.figures import dump_block, run_header, step_frame
from specviz.figures.audit import DECADES, audit_columns, audit_faults, shade
from specviz.figures.bonus import bonus_fault, same_distribution
from specviz.figures.cache import kept_rows, settled_slots
from specviz.figures.mask import MOST_RUNS, mask_columns, mask_rows
from specviz.figures.text import token_label
from specviz.figures.totals import run_totals
from specviz.trace import metrics
from specviz.trace.metrics import tolerance_of
from specviz.trace.schema import Audit, CacheChange, Choice, Sampling, Step, TopK, Trace
from tests import faults
from tests.pairs import TREES, make_trace
from tests.sample_traces import RULES, k_config, random_tree, sample_trace

SHORT = Choice(name="k_config", options={"tree": "2"})


def changes(step: Step) -> tuple[CacheChange, CacheChange]:
    return step.caches.target, step.caches.draft


def findings(trace: Trace) -> list[str]:
    """Everything the frames of a run find wrong."""
    found = []
    for position in range(len(trace.steps)):
        frame = step_frame(trace, position)
        found += [f"{model}: {line}" for model, cache in frame["caches"].items() for line in cache["faults"]]
        found += [f"{v['verifier']}: {v['bonus']['fault']}" for v in frame["verdicts"] if v["bonus"]["fault"]]
    return found


def with_sees(trace: Trace, change_row) -> Trace:
    """A run whose rows saw other slots: ``change_row(slot, base)`` gives them."""
    steps = []
    for step in trace.steps:
        made = {}
        for name in ("target", "draft"):
            change = getattr(step.caches, name)
            slots = [s.model_copy(update={"sees": change_row(s, change.length_before)}) for s in change.appended]
            made[name] = change.model_copy(update={"appended": tuple(slots)})
        steps.append(step.model_copy(update={"caches": step.caches.model_copy(update=made)}))
    return trace.model_copy(update={"steps": tuple(steps)})


# --------------------------------------------------------------------------------------------- sound and planted


@pytest.mark.parametrize("driver", ["rejection", "eta", "traversal", "naive"])
@pytest.mark.parametrize("tree", TREES)
def test_a_sound_run_has_no_findings(tree: str, driver: str) -> None:
    sampled = {"target": Sampling(temperature=0.8, top_p=0.9), "draft": Sampling(temperature=1.2, top_k=30)}
    for fields in ({"audit": True}, sampled):
        assert findings(make_trace("llama", tree, driver=driver, max_new_tokens=12, **fields)) == []


@pytest.mark.parametrize(
    ("fault", "tree", "said"),
    [
        (faults.no_compaction, "4,2,2", ["does not hold what was kept", "dropped; 0 were.", "audit finds", "logits"]),
        (faults.positions_off_by_one, "4,2,2", ["29 of 29 written slots; the first: slot 3 (node 0) has position 4"]),
        (faults.sibling_leak, "4,2,2", ["no ancestor is seen by 27 of 29 written slots; the first: slot 5 (node 2)"]),
        (faults.draft_a_token_short, SHORT, ["draft: Before the root the cache holds 5 tokens; the text has 6"]),
        (faults.stale_residual, "4,2,2", ["rejection: This is not the residual that was left", "stale"]),
    ],
)
def test_every_planted_fault_is_found(fault, tree, said) -> None:
    with fault():
        trace = make_trace("llama", tree, audit=True, max_new_tokens=40)
    found = findings(trace)
    for words in said:
        assert any(words in line for line in found), words


def test_a_mask_that_misses_an_ancestor_is_found() -> None:
    def without_parent(slot, base):
        return slot.sees[:-2] + slot.sees[-1:] if len(slot.sees) > 1 else slot.sees

    found = findings(with_sees(make_trace(max_new_tokens=4), without_parent))
    assert any("target: An ancestor is not seen by 28 of 29 written slots" in line for line in found)


def test_earlier_slots_that_are_not_seen_are_found() -> None:
    trace = make_trace(max_new_tokens=4)
    step = trace.steps[0]
    slots = [s.model_copy(update={"sees_before": 1}) if s.node == 3 else s for s in step.caches.target.appended]
    change = step.caches.target.model_copy(update={"appended": tuple(slots)})
    caches = step.caches.model_copy(update={"target": change})
    trace = trace.model_copy(update={"steps": (step.model_copy(update={"caches": caches}),)})
    assert any("settled slots are seen by 1 of 29" in line and "sees 1 of 3" in line for line in findings(trace))


# --------------------------------------------------------------------------------------------------------- masks


def observed(columns: dict) -> list[set[int] | None]:
    """The mask that the page expands from its columns."""
    must: list[set[int] | None] = []
    for index, up in enumerate(columns["up"]):
        must.append(None if up is None else {index} | ((must[up] or set()) if up >= 0 else set()))

    def lay(name: str) -> dict[int, set[int]]:
        cells: dict[int, set[int]] = {}
        for row, starts, ends in zip(*(columns[name][part] for part in ("row", "first", "last")), strict=True):
            cells[row] = {c for first, last in zip(starts, ends, strict=True) for c in range(first, last + 1)}
        return cells

    leaks, missing, unknown = lay("leaks"), lay("missing"), lay("unknown")
    return [
        unknown.get(i, set()) if line is None else (line | leaks.get(i, set())) - missing.get(i, set())
        for i, line in enumerate(must)
    ]


@pytest.mark.parametrize("tree", ["4,2,2", "dynamic", "heterogeneous"])
def test_the_columns_carry_the_observed_mask_without_loss(tree: str) -> None:
    def scrambled(slot, base):
        offset = slot.slot - base
        return tuple(base + c for c in range(offset + 1) if (c * 7 + offset * 3) % 4)

    for trace in (make_trace("llama", tree), with_sees(make_trace("llama", tree), scrambled)):
        for step in trace.steps:
            for change in changes(step):
                columns = json.loads(json.dumps(mask_columns(step, change, mask_rows(step, change))))
                expected = [{c - change.length_before for c in slot.sees} for slot in change.appended]
                assert observed(columns) == expected


def test_a_mask_that_is_wrong_everywhere_is_cut_and_says_where() -> None:
    trace = with_sees(sample_trace(random_tree(1024), steps=1), lambda slot, base: tuple(range(base, slot.slot + 1)))
    step = trace.steps[0]
    columns = mask_columns(step, step.caches.target, mask_rows(step, step.caches.target))
    assert sum(len(runs) for kind in ("leaks", "missing", "unknown") for runs in columns[kind]["first"]) <= MOST_RUNS
    assert columns["cut"] > 500
    assert max(columns["leaks"]["row"]) == columns["cut"] - 1
    assert columns["wrong"] > 1000


def test_positions_that_are_due_come_from_depth() -> None:
    for step in make_trace("llama", "heterogeneous", driver="longest_path").steps:
        for change in changes(step):
            for row, slot in zip(mask_rows(step, change), change.appended, strict=True):
                if slot.node is not None:
                    assert row.due == step.context - 1 + step.tree.nodes[slot.node].depth
                assert row.due in (None, slot.position)


# -------------------------------------------------------------------------------------------------------- caches


def test_what_must_be_left_comes_from_the_path_and_not_from_the_moves() -> None:
    with faults.no_compaction():
        trace = make_trace(max_new_tokens=40)
    for position, step in enumerate(trace.steps):
        nodes = [0, *step.verdicts[step.driver].path][: len(step.committed)]
        assert [step.caches.target.appended[row].node for row in kept_rows(step, step.caches.target)] == nodes
        cache = step_frame(trace, position)["caches"]["target"]
        assert cache["state"].count("d") == cache["state"].count("m") == 0
        assert cache["state"].count("l") == 29 - len(nodes)
        after = cache["after"]
        assert after["good"] == [
            cache["prints"][due] == at for due, at in zip(after["due"], after["print"], strict=True)
        ]
        assert [cache["prints"][held] for held in after["held"]] == after["print"], "what the slots hold instead"
        assert [cache["slot"][held] for held in after["held"]] == after["slot"], "nothing was moved"


def test_settled_slots_hold_the_last_tokens_of_the_text() -> None:
    trace = make_trace(max_new_tokens=20)
    texts = {t.id: t for t in trace.prompt_texts} | {t.id: t for step in trace.steps for t in step.tokens}
    text = [*trace.prompt_tokens, *trace.output_tokens()]
    for position, step in enumerate(trace.steps):
        for model, change in zip(("target", "draft"), changes(step), strict=True):
            length = change.length_before
            expected = [token_label(texts[token]) for token in text[max(0, length - 3) : length]]
            assert settled_slots(trace, position, model) == {"text": expected, "step": [None] * len(expected)}


def test_a_slot_that_an_earlier_step_left_wrong_is_told_with_what_it_holds() -> None:
    with faults.no_compaction():
        trace = make_trace(max_new_tokens=20)
    texts = {t.id: t for step in trace.steps for t in step.tokens}
    position = next(i for i, step in enumerate(trace.steps) if step.verdicts["rejection"].path[:1] not in ((), (1,)))
    change = trace.steps[position].caches.target
    held = [token_label(texts[slot.token]) for slot in change.appended[: change.length_after - change.length_before]]
    found = settled_slots(trace, position + 1, "target")
    assert found["text"] == held[-3:]
    due = [
        token_label(texts[token])
        for token in (trace.steps[position].tree.nodes[0].token, *trace.steps[position].committed)
    ]
    assert found["step"] == [None if text == want else position for text, want in zip(held, due, strict=False)][-3:]
    assert position in found["step"]


def test_a_slot_that_no_step_wrote_is_not_searched_for_through_the_whole_run(monkeypatch) -> None:
    """A draft that runs nothing keeps the slots of its prompt before it, however long the run."""
    trace = make_trace(tree="no draft", max_new_tokens=12)
    looked = []
    monkeypatch.setattr("specviz.figures.cache.LOOK_BACK", 4)
    seen = property(lambda step: looked.append(step.index) or 0)
    monkeypatch.setattr(type(trace.steps[0]), "prefilled", seen, raising=False)
    assert settled_slots(trace, 11, "draft")["step"] == [None] * 3
    assert min(looked) >= 11 - 4


def test_a_cache_that_is_behind_holds_other_tokens_than_the_text_has_there() -> None:
    with faults.draft_a_token_short():
        trace = make_trace("llama", SHORT, max_new_tokens=20)
    assert any(step is not None for i in range(len(trace.steps)) for step in settled_slots(trace, i, "draft")["step"])
    assert all(step is None for i in range(len(trace.steps)) for step in settled_slots(trace, i, "target")["step"])


# ----------------------------------------------------------------------------------------------- where it began


def fresh(trace: Trace, model: str = "target") -> list[tuple[int, int]]:
    """(findings, findings that arose in the step itself) of every step."""
    caches = [step_frame(trace, position)["caches"][model] for position in range(len(trace.steps))]
    return [(len(cache["faults"]), cache["fresh"]) for cache in caches]


def test_a_cache_that_was_only_cut_is_no_fault_where_it_holds_what_it_must() -> None:
    """The run says that it dropped nothing; the slots say that nothing is wrong."""
    with faults.no_compaction():
        trace = make_trace(audit=True, max_new_tokens=40)
    first = next(i for i, step in enumerate(trace.steps) if step.verdicts["rejection"].path[:1] not in ((), (1,)))
    assert first > 0
    assert fresh(trace)[:first] == [(0, 0)] * first
    assert fresh(trace)[first][1] > 0


def test_what_only_follows_from_an_earlier_step_is_not_fresh() -> None:
    with faults.no_compaction():
        trace = make_trace(audit=True, max_new_tokens=40)
    for step, (found, arose) in zip(trace.steps, fresh(trace), strict=True):
        change = step.caches.target
        kept = change.fingerprints_before[: len(change.fingerprints_after)]
        assert kept == change.fingerprints_after, "nothing was moved"
        wrong = [0, *step.verdicts["rejection"].path][: len(kept)] != list(range(len(kept)))
        assert (arose > 0) == wrong
        assert arose <= found
    assert any(found and not arose for found, arose in fresh(trace))


def test_a_cache_that_stays_behind_has_no_new_finding_until_it_falls_back_further() -> None:
    with faults.draft_a_token_short():
        trace = make_trace("llama", SHORT, audit=True, max_new_tokens=40)
    behind = [step.context - 1 - step.caches.draft.length_before for step in trace.steps]
    told = fresh(trace, "draft")
    for position, (found, arose) in enumerate(told):
        grew = behind[position] != (behind[position - 1] if position else 0)
        assert (found > 0) == (behind[position] > 0)
        assert (arose > 0) == grew, position
    assert {arose for _, arose in told} == {0, 1}


def test_positions_that_are_wrong_in_every_step_arise_in_every_step() -> None:
    with faults.positions_off_by_one():
        trace = make_trace(audit=True, max_new_tokens=12)
    assert all(arose == 1 for _, arose in fresh(trace))


# -------------------------------------------------------------------------------------------------------- audits


def test_shades_are_powers_of_ten() -> None:
    assert [shade(x) for x in (0.0, 9e-9, 1e-8, 1e-7, 9.9e-5, 1e-4, 0.5, 30.0)] == [0, 0, 1, 2, 4, 5, 8, 8]
    assert len(DECADES) <= 9, "one digit a cell"


def test_the_audit_has_one_column_for_all_earlier_slots() -> None:
    trace = make_trace(audit=True, max_new_tokens=12)
    for step in trace.steps:
        change = step.caches.target
        columns = audit_columns(change.audit, 1e-4)
        assert columns["keys"][1] == [change.audit.earlier_keys[1], *change.audit.keys[1]]
        assert columns["values"][0][1:] == list(change.audit.values[0])
        rows = columns["shades"][0].split("/")
        assert len(rows) == trace.models.target.layers
        assert {len(row) for row in rows} == {1 + change.length_after - change.length_before}
        assert columns["wrong"] == 0
    assert audit_columns(None, 1e-4) is None


def test_what_lies_beyond_the_tolerance_is_counted_and_told() -> None:
    audit = Audit(
        first_slot=7,
        keys=((1e-7, 0.25), (1e-6, 1e-6)),
        values=((0.0, 0.0), (2e-3, 0.0)),
        earlier_keys=(0.0, 0.0),
        earlier_values=(0.5, 0.0),
        logits=0.3,
    )
    assert audit_columns(audit, 1e-4)["wrong"] == 3
    worst, logits = audit_faults(audit, 1e-4)
    assert "3 of 12 cells" in worst
    assert "values of layer 0, slots before 7, off by 0.5" in worst
    assert "0.3" in logits
    assert audit_faults(audit, 1.0) == []


def test_tolerances_follow_the_number_format() -> None:
    model = make_trace(max_new_tokens=2).models.target
    by_dtype = [tolerance_of(model.model_copy(update={"dtype": d})) for d in ("float32", "torch.bfloat16", "strange")]
    assert by_dtype == [1e-4, 5e-2, 5e-2]
    assert tolerance_of(model.model_copy(update={"quantization": "int8"})) == 5e-2


# -------------------------------------------------------------------------------------------------------- totals


def test_totals_are_the_metrics_with_their_formulas() -> None:
    trace = make_trace(max_new_tokens=30)
    totals = run_header(trace)["totals"]
    assert totals["steps"] == len(trace.steps)
    assert totals["tokens"] == 30
    assert totals["formulas"]["block_efficiency"] == metrics.FORMULAS["block_efficiency"]
    assert [v["verifier"] for v in totals["verifiers"]] == [choice.name for choice in trace.settings.verifiers]
    for one in totals["verifiers"]:
        name = one["verifier"]
        assert one["efficiency"] == pytest.approx(metrics.block_efficiency(trace, name), abs=1e-4)
        for kind, pairs in (
            ("depth", metrics.acceptance_by_depth(trace.steps, name)),
            ("rank", metrics.acceptance_by_rank(trace.steps, name)),
        ):
            assert list(zip(one[kind]["accepted"], one[kind]["of"], strict=True)) == pairs
        assert one["drives"] == (len(trace.steps) if name == "rejection" else 0)


def test_a_verifier_is_counted_over_the_steps_that_know_it() -> None:
    trace = sample_trace(steps=4, verifiers=("rejection", "eta"))
    last = trace.steps[-1]
    fewer = last.model_copy(update={"verdicts": {"rejection": last.verdicts["rejection"]}})
    totals = run_totals(trace.model_copy(update={"steps": (*trace.steps[:-1], fewer)}), ["rejection", "eta", "greedy"])
    assert {v["verifier"]: v["steps"] for v in totals["verifiers"]} == {"rejection": 4, "eta": 3}


def test_a_run_without_steps_has_no_totals() -> None:
    empty = sample_trace(steps=1).model_copy(update={"steps": ()})
    assert run_header(empty)["totals"]["verifiers"] == []
    dump_block(run_header(empty))


# --------------------------------------------------------------------------------------------------------- bonus


def test_lists_cut_at_different_lengths_can_be_one_distribution() -> None:
    long = TopK(ids=(1, 2, 3), probs=(0.5, 0.2, 0.1))
    assert same_distribution(long, TopK(ids=(1, 2), probs=(0.5, 0.2)))
    assert same_distribution(long, TopK(ids=(1, 3), probs=(0.5, 0.2))) is False
    assert same_distribution(TopK(ids=(1,), probs=(1.0,)), TopK(ids=(1,), probs=(1.0,)))
    assert same_distribution(TopK(ids=(1,), probs=(1.0,)), TopK(ids=(2,), probs=(1.0,))) is False
    tied = TopK(ids=(4, 5), probs=(0.25, 0.25))
    assert same_distribution(tied, TopK(ids=(6, 4), probs=(0.25, 0.25))), "of tied entries any may have been kept"


def test_a_bonus_from_another_node_or_without_probability_is_found() -> None:
    trace = make_trace(max_new_tokens=12)
    step = next(s for s in trace.steps if s.verdicts["naive"].bonus.source == "target")
    verdict = step.verdicts["naive"]
    assert bonus_fault(step, verdict) is None
    other = TopK(ids=(0, 1), probs=(0.75, 0.25))
    wrong = verdict.bonus.model_copy(update={"distribution": other, "token": 1})
    assert "not the target's distribution" in bonus_fault(step, verdict.model_copy(update={"bonus": wrong}))
    absent = verdict.bonus.model_copy(update={"distribution": other, "token": 7})
    assert "no probability" in bonus_fault(step, verdict.model_copy(update={"bonus": absent}))
    sure = TopK(ids=(0, 1), probs=(0.99, 0.00993))
    of_tail = verdict.bonus.model_copy(update={"distribution": sure, "token": 7})
    found = bonus_fault(step, verdict.model_copy(update={"bonus": of_tail})) or ""
    assert "no probability" not in found, "the tail of a sure row is drawn now and then"


# --------------------------------------------------------------------------------------------------------- bytes


@pytest.mark.parametrize(("size", "limit"), [(29, 60_000), (257, 200_000), (1024, 400_000)])
def test_bytes_a_step_with_a_mask_that_is_wrong_everywhere(size: int, limit: int) -> None:
    parents = k_config(4, 2, 2) if size == 29 else random_tree(size)
    trace = sample_trace(parents, steps=1, verifiers=tuple(RULES))
    trace = with_sees(trace, lambda slot, base: tuple(range(base, slot.slot + 1)))
    deep = tuple(
        tuple(float(f"{1.23e-7 * math.e**i:.3g}") for i in range(9)) for _ in range(30)
    )  # as they are recorded
    audit = Audit(
        first_slot=3, keys=deep, values=deep, earlier_keys=(1.23e-7,) * 30, earlier_values=(0.0,) * 30, logits=1e-6
    )
    step = trace.steps[0]
    caches = {name: getattr(step.caches, name).model_copy(update={"audit": audit}) for name in ("target", "draft")}
    step = step.model_copy(update={"caches": step.caches.model_copy(update=caches)})
    assert len(dump_block(step_frame(trace.model_copy(update={"steps": (step,)}), 0)).encode()) <= limit
