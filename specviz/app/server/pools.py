"""Pools: so much of one resource for everybody, of which no client can take more than its share.

Everything that strangers can use up is one of these: places in the queue, bytes of uploads, links, saved files. A pool
counts; what is held, and how it is given back, is its owner's.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator

from specviz.app.server.clients import Client
from specviz.errors import BusyError

Key = tuple[str, str]


class Pool:
    """A pool.

    Args:
        what: is refused, in words that fit "You have all the ... that one visitor can have".
        total: of all clients together.
        of_session: that one session may have; None for the total.
        of_address: that one address may have; None for the total.

    Attributes:
        most: the same two shares, as numbers: of "session" and of "address".

    Example:
        >>> links = Pool("links", total=4, of_address=3)
        >>> links.take(Client("192.0.2.1"), 3)
        >>> links.take(Client("192.0.2.1"), 1)
        Traceback (most recent call last):
        specviz.errors.BusyError: You have all the links that one visitor can have (3); wait until some are given back.
    """

    def __init__(self, what: str, total: int, of_session: int | None = None, of_address: int | None = None):
        self.what, self.total = what, total
        self.most = {
            "session": total if of_session is None else of_session,
            "address": total if of_address is None else of_address,
        }
        self._held: Counter[Key] = Counter()
        self._all = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """What all clients have together."""
        return self._all

    def held_by(self, client: Client) -> int:
        """What a client has: its session, or where there is none its address."""
        with self._lock:
            return self._held[keys_of(client)[0]] if keys_of(client) else 0

    def take(self, client: Client, amount: int = 1) -> None:
        """Count so much more as this client's.

        Raises:
            BusyError: if that is more than its share, or more than is left; nothing is counted then.
        """
        with self._lock:
            if self._all + amount > self.total:
                raise BusyError(
                    f"All the {self.what} that this page has ({self.total:,}) are in use; try again in a minute."
                )
            for kind, name in keys_of(client):
                if self._held[kind, name] + amount > self.most[kind]:
                    raise BusyError(
                        f"You have all the {self.what} that one visitor can have ({self.most[kind]:,}); wait until "
                        "some are given back."
                    )
            self._all += amount
            self._held.update(dict.fromkeys(keys_of(client), amount))

    def give_back(self, client: Client, amount: int = 1) -> None:
        """Count so much as nobody's again; the client must have taken it."""
        with self._lock:
            self._all -= amount
            for key in keys_of(client):
                self._held[key] -= amount
                if self._held[key] <= 0:
                    del self._held[key]  # strangers make up keys: none stays

    @contextlib.contextmanager
    def lent(self, client: Client, amount: int = 1) -> Iterator[None]:
        """Take so much for as long as the context lasts.

        Raises:
            BusyError: see :meth:`take`.
        """
        self.take(client, amount)
        try:
            yield
        finally:
            self.give_back(client, amount)


class Rounds:
    """Whose turn is next: of those who wait, the client's that has not had one for longest, among addresses first, then
    among the sessions of one."""

    def __init__(self) -> None:
        self._last: dict[Key, int] = {}
        """The number of the last turn that a client which waits has had."""
        self._turn = 0

    def last_turns(self, client: Client) -> tuple[int, int]:
        """What is least for the client whose turn is next."""
        last = {kind: self._last.get((kind, name), 0) for kind, name in keys_of(client)}
        return last.get("address", 0), last.get("session", 0)

    def take(self, client: Client, waiting: Iterable[Client]) -> None:
        """Note that a client has a turn, while these wait for theirs."""
        keys = {key for other in waiting for key in keys_of(other)}
        self._turn += 1
        self._last = {key: turn for key, turn in self._last.items() if key in keys}
        self._last |= dict.fromkeys(keys_of(client), self._turn)


def keys_of(client: Client) -> list[Key]:
    """What is known of a client: ("session", its session), ("address", its address)."""
    found = (("session", client.session), ("address", client.address))
    return [(kind, name) for kind, name in found if name is not None]
