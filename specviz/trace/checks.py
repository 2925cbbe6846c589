"""What was checked of a step of another engine while its rows were there."""

from __future__ import annotations

from pydantic import model_validator

from specviz.trace.values import Count, Name, Text, Value


class Check(Value):
    """One check of one step. Checks need whole rows, and those are not kept: so what came out is."""

    name: Name
    """Of the check, as docs/audit.md lists them."""
    compared: Count
    """How many numbers were compared; 0: the check could not run."""
    failed: Count = 0
    """How many of them differ by more than ``tolerance``."""
    worst: float | None = None
    """The largest difference; 1e308 where it is no finite number."""
    tolerance: float | None = None
    node: Count | None = None
    """Where the largest difference was."""
    score: float | None = None
    """Of a calibration: the sum of -log p(x) - H over the drawn tokens x, in nats."""
    variance: float | None = None
    """Of a calibration: the sum of Var(log p), in square nats."""
    lacked: Text | None = None
    """What it would have needed, where it could not run."""
    message: Text | None = None
    """What was found, in a sentence."""

    @model_validator(mode="after")
    def _consistent(self) -> Check:
        if self.failed > self.compared:
            raise ValueError(f"the check {self.name!r} failed more often than it compared")
        return self
