"""The gallery of faults: what ships is what the checks of today say, and each loop is sound without its fault."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from specviz.errors import TraceError
from specviz.gallery import FAULTS, Fault, fault_named
from specviz.gallery.fault import FOLDER
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding, NotRun
from tests.gallery.loops import LOOPS, Example, HeadLoop, Sequoia, tiny_head_pair, tiny_pair, without
from tests.recorder import loops
from tests.tools import fault_doc

NEW_TOKENS = 24
SEEDS = {"coin-of-zero": 4, "draft-one-short": 2, "head-keeps-drafted": 1}
"""With which the coins of a random pair meet the fault; others do with 0."""
TRIAL = {
    name
    for name, loop in LOOPS.items()
    if isinstance(loop, Example) and any(loop.fault == ((one.right, one.wrong),) for one in loops.FAULTS.values())
}
"""The nine that tests/recorder/test_audit.py finds in the same loops."""
SOUND = {str(without(loop)): name for name, loop in LOOPS.items()}
"""The loops without their faults, many of which are the same: the last fault of each."""
MOST_BYTES = 1_500_000
by_name = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


def names(found: Iterable[Finding | NotRun]) -> set[str]:
    return {one.check for one in found if isinstance(one, Finding) and one.weight != "note"}


def recorded(name: str, faulty: bool) -> set[str]:
    """What is found in a loop on a random pair, with the models."""
    loop = LOOPS[name]
    pair = tiny_head_pair() if isinstance(loop, HeadLoop) else tiny_pair()
    trace = loop.record(pair, faulty, new_tokens=NEW_TOKENS, seed=SEEDS.get(name, 0))
    return names(audit(trace) if isinstance(loop, Sequoia) else audit(trace, pair.target, pair.draft))


def test_each_fault_has_a_loop_and_a_file_and_there_are_no_others() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 15
    assert {fault.name for fault in FAULTS} == LOOPS.keys()
    assert {fault.file for fault in FAULTS} == {*FOLDER.iterdir()}
    assert len(TRIAL) == 9
    assert sum(fault.file.stat().st_size for fault in FAULTS) < MOST_BYTES
    with pytest.raises(TraceError, match="There is no fault 'no-such'"):
        fault_named("no-such", FAULTS)


@by_name
def test_what_ships_is_found_by_its_checks_and_no_others(fault: Fault) -> None:
    trace = fault.load()
    found = fault_doc.found_in(fault)
    assert {*fault.checks} <= names(found) <= {*fault.checks, *fault.also}
    first = next(one for one in found if one.check == fault.checks[0])
    assert first.step is not None
    assert first.node is None or first.node < len(trace.steps[first.step].tree.nodes)
    assert trace.engine is not None


@pytest.mark.parametrize("name", sorted(LOOPS.keys() - TRIAL))
def test_a_loop_with_its_fault_is_found_by_its_checks_and_no_others(name: str) -> None:
    fault = fault_named(name, FAULTS)
    assert {*fault.checks} <= recorded(name, True) <= {*fault.checks, *fault.also}


@pytest.mark.parametrize("name", SOUND.values())
def test_the_same_loop_without_its_fault_is_sound(name: str) -> None:
    assert recorded(name, False) == set()


def test_the_page_of_the_faults_says_what_the_recordings_say() -> None:
    assert fault_doc.PAGE.read_text(encoding="utf-8") == fault_doc.made(), "python -m tests.tools.fault_doc --write"


def test_every_report_is_named_as_people_write_it() -> None:
    names_of = [report.name for fault in FAULTS for report in fault.reports]
    assert "vllm #9730" in names_of
    assert all(report.address.startswith("https://github.com/") for fault in FAULTS for report in fault.reports)
