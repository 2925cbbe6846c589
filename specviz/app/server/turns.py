"""The queue of the page: who may join it, whose event is next, and which events nobody waits for.

Gradio takes whoever comes first, as many events as anybody likes to send, and runs them whether or not somebody is
there to hear the answer. Here every client has its share of the places, clients take turns, and an event begins once
somebody listens and ends when nobody does.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gradio.exceptions import Error
from gradio.queueing import AsyncQueue, Event, Queue
from gradio.server_messages import EventMessage, ProcessCompletedMessage
from gradio.utils import LRUCache, error_payload

from specviz.app.server.clients import Client, client_of
from specviz.app.server.limits import (
    ANSWERS_WAITING,
    EVENTS_WAITING,
    LISTEN_SECONDS,
    SESSIONS_TOLD,
    WAITING_FILES,
    Limits,
)
from specviz.app.server.pools import Rounds, keys_of
from specviz.app.server.streams import STREAMS
from specviz.errors import BusyError

UNHEARD = "Nobody listened for the answer to this click, so it was ended; click again, and wait for the answer."
TAKEN_BACK = "This click was taken back before its turn came."
STOPPING = "The server is being restarted; click again in a minute."
_SMALL = 4_096
"""Characters of an answer that is kept in any case: an error, or how far something is."""
_OTHERS = "clicks that need no models"


class Turns:
    """The rules of a queue of Gradio's, which obeys them from then on.

    Args:
        limits: the page's, which a test may change.
        kinds: concurrency ids of the events that have ``limits.queue`` places each, and what a visitor calls them. All
            other events together have :data:`~specviz.app.server.limits.EVENTS_WAITING`.
    """

    def __init__(self, queue: Queue, limits: Callable[[], Limits], kinds: Mapping[str, str]):
        self._queue, self._limits, self._kinds = queue, limits, kinds
        self._push, self._send = queue.push, queue.send_message
        self._rounds: defaultdict[str, Rounds] = defaultdict(Rounds)
        """Of each line. Turns elsewhere do not count: whoever looks at runs while a step waits would wait for ever."""
        self._ended = False
        queue.push = self.push
        queue.get_events = self.next_event
        queue.send_message = self.send_message
        self._messages = queue.pending_messages_per_session = _Messages(queue.pending_event_ids_session)
        queue.ANALYTICS_MAX_EVENTS = 0  # nobody reads them, and each end of an event would go over all

    async def push(self, body: Any, request: Any, username: Any) -> Any:
        """As Gradio's, but a client that has all its places is refused, and so is whoever comes when all are taken, or
        at the end."""
        if self._ended:
            return False, STOPPING, "queue_full"
        function = self._queue.blocks.fns.get(body.fn_index)
        kind = self._kind(function.concurrency_id if function is not None else None)
        there = self._there()
        for forgotten in self._queue.event_ids_to_events.keys() - {event._id for event in there}:
            del self._queue.event_ids_to_events[forgotten]  # its end was cut short, by being cancelled twice
        limits = self._limits()
        # Counted anew from what waits and works, so that no way to leave can be forgotten.
        pool = limits.pool(f"places among the {kind}", EVENTS_WAITING if kind == _OTHERS else limits.queue)
        try:
            for event in there:
                if self._kind(event.concurrency_id) == kind:
                    pool.take(self._client(event))
            pool.take(client_of(request.scope, body.session_hash, limits.addresses_count))
        except BusyError as error:
            return False, str(error), "queue_full"
        return await self._push(body, request, username)

    def next_event(self) -> tuple[list[Event], bool, str] | None:
        """As Gradio's ``get_events``: the event that is begun now, if there is one; it leaves the queue.

        It is of the client that has not had a turn for longest: among addresses, then among the sessions of one.
        """
        for kind, line in self._queue.event_queue_per_concurrency_id.items():
            if self._ended:
                self._drop(line.queue, list(line.queue), STOPPING)
            limit = line.concurrency_limit
            if not line.queue or (limit is not None and line.current_concurrency >= limit):
                continue
            self._drop_unheard(line.queue)
            heard = [event for event in line.queue if self.is_heard(event)]
            if limit is None and heard:
                heard = self._within_shares(heard, kind)
            if heard:
                rounds = self._rounds[kind]
                event = min(heard, key=lambda one: rounds.last_turns(self._client(one)))  # of equals, the first
                rounds.take(self._client(event), map(self._client, line.queue))
                line.queue.remove(event)
                return [event], event.fn.batch, kind
        return None

    def end(self) -> None:
        """Begin nothing any more; whoever waits, or comes, is told so. From any thread."""
        self._ended = True

    def ahead(self, session: str, kind: str) -> int | None:
        """How many events of a line began or came before the first one of a session that waits; None if none waits."""
        line = self._queue.event_queue_per_concurrency_id.get(kind)
        mine = [event for event in line.queue if event.session_hash == session] if line else []
        if not line or not mine:
            return None
        at_work = sum(event.concurrency_id == kind for events in self._queue.active_jobs if events for event in events)
        return at_work + sum(event.enqueue_time < mine[0].enqueue_time for event in line.queue)

    def take_back(self, session: str, kind: str) -> None:
        """End the events of a session that wait in a line. In the thread of the queue."""
        line = self._queue.event_queue_per_concurrency_id.get(kind)
        if line:
            self._drop(line.queue, [event for event in line.queue if event.session_hash == session], TAKEN_BACK)

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return sum(len(line.queue) for line in self._queue.event_queue_per_concurrency_id.values())

    def _within_shares(self, heard: list[Event], kind: str) -> list[Event]:
        """Those that may begin in a line without a limit, whose events wait elsewhere, each with a thread."""
        most = self._limits().pool("files", WAITING_FILES).most
        at_work = [event for events in self._queue.active_jobs if events for event in events]
        held = Counter(key for event in at_work if event.concurrency_id == kind for key in keys_of(self._client(event)))
        return [event for event in heard if all(held[key] < most[key[0]] for key in keys_of(self._client(event)))]

    def send_message(self, event: Event, message: EventMessage) -> None:
        """As Gradio's, which keeps answers for a session however many it does not read. One that does not fit beside
        the others of its client is not kept, and its event ends."""
        size = _size(getattr(message, "output", None))
        answers = self._messages[event.session_hash]
        if size > _SMALL and not self._fits(self._client(event), size):
            answers.are_full = True
            self._send(event, _ended(UNHEARD))
            event.alive = False
            return
        answers.client = self._client(event)
        self._send(event, message)

    def _fits(self, client: Client, size: int) -> bool:
        pool = self._limits().pool("bytes of answers that nobody reads", ANSWERS_WAITING)
        for answers in self._messages.values():
            with contextlib.suppress(BusyError):
                pool.take(answers.client, answers.size)
        try:
            pool.take(client, size)
        except BusyError:
            return False
        return True

    def is_heard(self, event: Event) -> bool:
        """Whether somebody listens for the answers of an event, and reads those of the events before."""
        if not event.alive or self._messages[event.session_hash].are_full:
            return False
        return STREAMS.is_open(event.session_hash) or STREAMS.is_open(event._id)

    def _drop_unheard(self, waiting: list[Event]) -> None:
        late = time.monotonic() - LISTEN_SECONDS
        unheard = [event for event in waiting if event.enqueue_time < late and not self.is_heard(event)]
        self._drop(waiting, unheard, UNHEARD)

    def _drop(self, waiting: list[Event], events: list[Event], why: str) -> None:
        for event in events:
            waiting.remove(event)
            self._queue.event_ids_to_events.pop(event._id, None)
            self._send(event, _ended(why))

    def _there(self) -> list[Event]:
        """All events that wait or work."""
        lines: Iterable[list[Event]] = (line.queue for line in self._queue.event_queue_per_concurrency_id.values())
        return [event for line in (*lines, *filter(None, self._queue.active_jobs)) for event in line]

    def _kind(self, concurrency_id: str | None) -> str:
        return self._kinds.get(concurrency_id or "", _OTHERS)

    def _client(self, event: Event) -> Client:
        return client_of(event.request.scope, event.session_hash, self._limits().addresses_count)


def _ended(why: str) -> ProcessCompletedMessage:
    # Whoever takes a click back need not be told so.
    said = error_payload(Error(why, visible=why != TAKEN_BACK, print_exception=False), show_error=False)
    return ProcessCompletedMessage(output=said, success=False)


def _size(value: Any) -> int:
    """Characters of the texts in an answer."""
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str) else 0


class _Answers(AsyncQueue[Any]):
    """What one session is still to be told.

    Attributes:
        client: whose they are.
        size: characters of all of them.
        are_full: whether there was no room for another one since it has last read one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.client, self.size, self.are_full = Client(), 0, False
        self._sizes: deque[int] = deque()

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._sizes.append(_size(getattr(item, "output", None)))
        self.size += self._sizes[-1]

    def _get(self) -> Any:
        self.size -= self._sizes.popleft()
        self.are_full = False
        return super()._get()


class _Messages(LRUCache[str, _Answers]):
    """What each session is still to be told. Gradio forgets the oldest session, be it somebody's who waits, and its
    queue then ends with a KeyError, for everybody.

    Args:
        event_ids: Gradio's, of each session; they are forgotten with it.
    """

    def __init__(self, event_ids: dict[str, set[str]]):
        super().__init__(SESSIONS_TOLD)
        self._event_ids = event_ids

    def __setitem__(self, session: str, _: AsyncQueue[Any]) -> None:
        """Keep a queue that counts in the place of Gradio's, which is empty."""
        if session not in self and len(self) >= self.max_size:
            gone = next((name for name in self if not STREAMS.is_open(name)), next(iter(self)))
            del self[gone]
            self._event_ids.pop(gone, None)
        super().__setitem__(session, _Answers())

    def __missing__(self, session: str) -> _Answers:
        return _Answers()  # nobody hears it
