"""What several tests of the server share."""

from __future__ import annotations

import pytest

from specviz.engine.session import Session
from tests import server


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> server.Gate:
    """Holds every step of a run until the test lets it go."""
    made = server.Gate()
    monkeypatch.setattr(Session, "step", made.around(Session.step))
    return made
