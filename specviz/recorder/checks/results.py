"""How a check says what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from specviz.trace.checks import Check
from specviz.trace.metrics import TOLERANCES
from specviz.trace.schema import INFINITE_DIFFERENCE, cut

PATH_LACKS = "accepted nodes that hang together (accepted)"
TEXT_LACKS = "the text: an earlier step's accepted nodes do not hang together, and it did not say committed="
"""What checks say that need them."""


def lacked(name: str, what: str) -> Check:
    """A check that could not run, with what it would have needed."""
    return Check(name=name, compared=0, lacked=cut(what))


def compared(
    name: str,
    differences: Iterable[tuple[int | None, float]],
    message: Callable[[int | None, float], str],
    tolerance: float = 0.0,
) -> Check:
    """A check that compared numbers.

    Args:
        differences: (node or None, difference) of each comparison; 0 where the two are the same.
        message: (node, difference) -> a sentence about the largest difference, asked for only where it is too large.
        tolerance: largest difference that rounding explains.
    """
    found = [(node, _finite(difference)) for node, difference in differences]
    if not found:
        return lacked(name, "anything to compare")
    node, worst = max(found, key=lambda one: one[1])
    failed = sum(int(difference > tolerance) for _, difference in found)
    return Check(
        name=name,
        compared=len(found),
        failed=failed,
        worst=worst,
        tolerance=tolerance,
        node=node if worst > 0 else None,
        message=cut(message(node, worst)) if failed else None,
    )


def agreed(name: str, count: int, wrong: list[tuple[int | None, str]]) -> Check:
    """A check that compared ``count`` things that are equal or not; ``wrong``: (node, what is wrong) of each."""
    if not count:
        return lacked(name, "anything to compare")
    node, message = wrong[0] if wrong else (None, None)
    more = f" ({len(wrong) - 1} more of {count})" if len(wrong) > 1 else ""
    return Check(
        name=name,
        compared=count,
        failed=min(len(wrong), count),
        node=node,
        message=None if message is None else cut(message.removesuffix(".") + more + "."),
    )


def tolerance_of_format(dtype: str | None) -> float:
    """Relative difference that rounding may leave in what an engine computed with rows of this number format.

    Never below float32's: rows that come as Python's numbers were tensors of an unknown format before.
    """
    return max(TOLERANCES["float32"], TOLERANCES.get(_plain(dtype), TOLERANCES["float32"]))


def unit_roundoff(dtype: str | None) -> float:
    """Half of the relative distance between neighbouring numbers of the format; not below float32's."""
    return {"bfloat16": 2.0**-9, "float16": 2.0**-12}.get(_plain(dtype), 2.0**-25)


def _plain(dtype: str | None) -> str:
    return (dtype or "float32").removeprefix("torch.")


def _finite(difference: float) -> float:
    difference = float(difference)  # numpy's are no floats of a trace
    return difference if difference < INFINITE_DIFFERENCE else INFINITE_DIFFERENCE
