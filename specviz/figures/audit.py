"""The audit panel: a heat map of how far a cache is from a fresh recompute, layer by slot.

A cell's shade is the order of magnitude of the difference; cells beyond what rounding explains are marked.
"""

from __future__ import annotations

import math

from specviz.digits import digits
from specviz.figures.cache_types import Audit as AuditColumns
from specviz.trace.metrics import difference_text
from specviz.trace.schema import Audit

DECADES = (-8, -7, -6, -5, -4, -3, -2, -1)
"""A cell's shade is the number of these powers of ten that its difference reaches."""


def shade(difference: float) -> int:
    """0 for next to nothing to ``len(DECADES)`` for 0.1 and more."""
    if difference <= 0:
        return 0
    exponent = math.log10(difference) + 1e-9
    return sum(exponent >= decade for decade in DECADES)


def audit_columns(audit: Audit | None, tolerance: float) -> AuditColumns | None:
    """What the heat map is expanded from; null where nothing was audited."""
    if audit is None:
        return None
    parts = [
        [[earlier, *layer] for earlier, layer in zip(first, layers, strict=True)]
        for first, layers in ((audit.earlier_keys, audit.keys), (audit.earlier_values, audit.values))
    ]
    return {
        "first": audit.first_slot,
        "keys": parts[0],
        "values": parts[1],
        "shades": ["/".join("".join(str(shade(cell)) for cell in row) for row in part) for part in parts],
        "wrong": sum(cell > tolerance for part in parts for row in part for cell in row),
        "logits": audit.logits,
        "worst": audit.worst(),
    }


def audit_faults(audit: Audit | None, tolerance: float) -> list[str]:
    """A sentence where the recompute is not what the cache holds."""
    if audit is None:
        return []
    cells = [
        (difference, f"{part} of layer {layer}, {where}")
        for part, earlier, layers in (
            ("keys", audit.earlier_keys, audit.keys),
            ("values", audit.earlier_values, audit.values),
        )
        for layer, row in enumerate(layers)
        for difference, where in [
            (earlier[layer], f"slots before {audit.first_slot}"),
            *((cell, f"slot {audit.first_slot + i}") for i, cell in enumerate(row)),
        ]
    ]
    found = []
    wrong = [cell for cell in cells if cell[0] > tolerance]
    if wrong:
        difference, where = max(wrong)
        found.append(
            f"The audit finds {len(wrong)} of {len(cells)} cells that a recompute does not give; the worst: {where}, "
            f"off by {difference_text(difference)} where {digits(tolerance, 1)} is allowed."
        )
    if audit.logits is not None and audit.logits > tolerance:
        found.append(
            f"The next-token logits are off by {difference_text(audit.logits)} where {digits(tolerance, 1)} is allowed."
        )
    return found
