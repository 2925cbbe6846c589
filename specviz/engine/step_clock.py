"""How the seconds of a step are told apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from specviz.models.language_model import LanguageModel
from specviz.trace.schema import Timings

Phase = Literal["draft", "score", "verify", "commit", "record", "audit"]


class StepClock:
    """Splits the wall time of every phase into the models' forwards and specviz's own work.

    Time outside of all phases, such as that of a prefill, is not counted.
    """

    def __init__(self, *models: LanguageModel):
        # One model may be both target and draft; its forwards count once.
        self._models = list({id(model): model for model in models}.values())
        self.restart()

    def restart(self) -> None:
        """Forget the phases so far."""
        self._forwards: dict[Phase, float] = dict.fromkeys(get_args(Phase), 0.0)
        self._own: dict[Phase, float] = dict.fromkeys(get_args(Phase), 0.0)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count the time inside the block as that of a phase."""
        since, forwards_before = time.perf_counter(), self._forward_seconds()
        yield
        forwards = self._forward_seconds() - forwards_before
        self._forwards[name] += forwards
        self._own[name] += time.perf_counter() - since - forwards

    def timings(self) -> Timings:
        """Seconds of the phases so far; 0 for the others."""
        return Timings(
            draft=self._forwards["draft"],
            target=self._forwards["score"],
            build=self._own["draft"],
            verify=self._own["score"] + self._own["verify"],
            commit=self._own["commit"],
            record=self._own["record"],
            audit=self._own["audit"],
        )

    def _forward_seconds(self) -> float:
        return sum(model.forward_seconds for model in self._models)
