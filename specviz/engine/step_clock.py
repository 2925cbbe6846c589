"""How the seconds of a step are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

from specviz.models.cached_model import CachedModel
from specviz.models.stopwatch import Moment, moment, seconds
from specviz.trace.schema import Timings

Phase = Literal["draft", "score", "verify", "commit", "record", "audit"]
_HOST = torch.device("cpu")


class StepClock:
    """Splits the time of every phase into the models' forwards and specviz's own work.

    Time outside of all phases, such as that of a prefill, is not counted. On CUDA a phase begins and ends when the
    device comes there, so that nothing has to wait to be timed: what the host does while the device is still busy with
    an earlier phase costs that phase nothing. The phases that read all they need first, and then work on the host, are
    timed by its clock.
    """

    def __init__(self, *models: CachedModel):
        # One model may be both target and draft; its forwards count once.
        self._models = list({id(model): model for model in models}.values())
        self._device = models[0].device
        self.restart()

    def restart(self) -> None:
        """Forget the phases so far."""
        self._phases: list[tuple[Phase, Moment, Moment, list[tuple[Moment, Moment]]]] = []
        for model in self._models:
            model.forwards.clear()

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count the time inside the block as that of a phase."""
        device = _HOST if name in ("record", "audit") else self._device
        since, before = moment(device), [len(model.forwards) for model in self._models]
        yield
        forwards = [span for model, first in zip(self._models, before, strict=True) for span in model.forwards[first:]]
        self._phases.append((name, since, moment(device), forwards))

    def timings(self) -> Timings:
        """Seconds of the phases so far, all of which the device must have passed; 0 for the others."""
        forwards: dict[Phase, float] = dict.fromkeys(get_args(Phase), 0.0)
        own = forwards.copy()
        for name, since, until, spans in self._phases:
            inside = sum(seconds(*span) for span in spans)
            forwards[name] += inside
            own[name] += seconds(since, until) - inside
        return Timings(
            draft=forwards["draft"],
            target=forwards["score"],
            build=own["draft"],
            verify=own["score"] + own["verify"],
            commit=own["commit"],
            record=own["record"],
            audit=own["audit"],
        )
