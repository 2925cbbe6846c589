"""The gallery of faults as blocks for the viewer: its list, and one of them with its recording."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from specviz.app import run_handlers
from specviz.app.server.trace_store import StoredTrace
from specviz.errors import SpecvizError
from specviz.figures import dump_block
from specviz.figures.block_types import Block, Fault
from specviz.figures.findings import findings_of
from specviz.gallery import FAULTS, fault_named


def open_fault(wanted: Any) -> tuple[str, StoredTrace | None]:
    """The blocks that open a fault, and its run; ``wanted`` comes from the page: ``{"name": a fault's name}``."""
    name = wanted.get("name") if isinstance(wanted, dict) else None
    try:
        block, stored = _opened(str(name))
    except SpecvizError as error:
        return run_handlers.failed(error), None
    return block, stored


def list_block() -> Block:
    """What the viewer shows before a fault was chosen."""
    return {"faults": [{"name": one.name, "title": one.title, "said": one.said} for one in FAULTS]}


@lru_cache(maxsize=len(FAULTS))
def _opened(name: str) -> tuple[str, StoredTrace]:
    # Everybody opens the same few, and drawing one takes a fifth of a second.
    fault = fault_named(name, FAULTS)
    stored = StoredTrace.shared(fault.load())
    number = FAULTS.index(fault)
    value: Fault = {
        "name": fault.name,
        "number": number + 1,
        "count": len(FAULTS),
        "title": fault.title,
        "said": fault.said,
        "more": fault.more,
        "look": fault.look,
        "run": stored.id,
        "finding": _first(stored, fault.checks[0]),
        "reports": [{"name": report.name, "address": report.address} for report in fault.reports],
        "next": FAULTS[number + 1].name if number + 1 < len(FAULTS) else None,
    }
    return f"[{run_handlers.opening_block(stored.trace)},{dump_block({'fault': value})}]", stored


def _first(stored: StoredTrace, check: str) -> int | None:
    """Which finding says where it shows; None if the checks of today find it no more."""
    findings = findings_of(stored.trace)
    found = findings["found"]["check"] if findings else []
    return found.index(check) if check in found else None
