"""A word to an operator who has not said which proxy stands before the page."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from specviz.app.server.limits import PROXIES, Limits

log = logging.getLogger(__name__)
UNNAMED = (
    "a request says that it was forwarded (X-Forwarded-For), and no proxy is named: all who come through one share "
    f"an address, or count by session only; if there is a proxy, name it with --proxies or {PROXIES}"
)


class ForwardedNotice:
    """Logs :data:`UNNAMED` with the first request that says that it was forwarded; anybody can write such a header, so
    it is said once."""

    def __init__(self, limits: Limits):
        self._due = not limits.proxies

    def look_at(self, scope: Mapping[str, Any]) -> None:
        """Look at a request of ASGI."""
        if self._due and any(name == b"x-forwarded-for" for name, _ in scope["headers"]):
            self._due = False
            log.warning(UNNAMED)
