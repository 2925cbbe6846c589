"""What a step's phases took."""

from __future__ import annotations

from specviz.errors import TraceError
from specviz.trace.values import Value


class Timings(Value):
    """Seconds of one step. ``draft`` and ``target`` are the models' forwards; the rest is specviz's own work.

    On CUDA a phase lasts from when the device comes to it until it leaves it, and ``record`` and ``audit``, which read
    first and work on the host, by the host's clock. Null is what another engine did not tell."""

    draft: float | None = None
    target: float | None = None
    build: float | None = None
    """Growing the tree: drawing siblings, choosing nodes to expand."""
    verify: float | None = None
    commit: float | None = None
    record: float | None = None
    audit: float | None = None
    total: float | None = None
    """Of another engine's step, what lay between its begin and its end."""

    def seconds(self, *phases: str) -> float:
        """Of these phases together.

        Raises:
            TraceError: where one was not recorded.
        """
        found = [getattr(self, phase) for phase in phases]
        if None in found:
            raise TraceError(f"The seconds of {', '.join(phases)} were not recorded in this step.")
        return float(sum(found))
