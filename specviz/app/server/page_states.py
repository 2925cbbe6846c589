"""The states of open pages: which of them makes room for another, and that its page is told."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any, cast

from gradio.state_holder import SessionState, StateHolder

from specviz.app.page_state import PageState
from specviz.app.server.limits import KEPT_BYTES, LOST_TOLD
from specviz.app.server.streams import STREAMS


class PageStates(StateHolder):
    """Gradio's states of all sessions. Its own forgets the session used longest ago, be its page open, keeps what the
    page has elsewhere, and gives the page an empty state at its next click, as if it had just been opened.

    Args:
        addresses_count: see :func:`~specviz.app.server.clients.client_of`.
    """

    def __init__(self, addresses_count: bool):
        super().__init__()
        self._addresses_count = addresses_count
        self._lost: OrderedDict[int, int] = OrderedDict()
        """Of a session whose runs were forgotten, its hash: the component that had them."""

    def __getitem__(self, session_id: str) -> SessionState:
        known = session_id in self.session_data
        if not known:
            self.session_data[session_id] = _State(self.blocks)
        state = super().__getitem__(session_id)
        component = None if known else self._lost.pop(hash(session_id), None)
        if component is not None:
            state[component] = PageState(lost=True)
        return state

    def update(self, session_id: str) -> None:
        """Note that a session is used, and make room for it."""
        gone: list[tuple[str, SessionState]] = []
        with self.lock:
            self.session_data.move_to_end(session_id)
            sizes = {name: _held_bytes(state) for name, state in self.session_data.items()}
            while (many := len(sizes) > max(1, self.capacity)) or sum(sizes.values()) > KEPT_BYTES:
                # What has no bytes makes no room for them.
                held = [(name, 1 if many else size) for name, size in sizes.items() if many or size]
                if held[-1][0] != session_id:
                    held.append((session_id, 0))
                if len(held) < 2:
                    break
                name, _ = held[STREAMS.first_to_go(held, self._addresses_count)]
                del sizes[name]
                gone.append((name, self.session_data.pop(name)))
                self.time_last_used.pop(name, None)
        for name, state in gone:
            for component, value, _ in state.state_components:
                component.delete_callback(value)
                if isinstance(value, PageState) and value.runs:
                    self._lost[hash(name)] = component._id
            while len(self._lost) > LOST_TOLD:
                self._lost.popitem(last=False)

    def delete_state(self, session_id: str, expired_only: bool = False) -> None:
        """As Gradio's, for a session that nobody has used for hours; its page is told, too."""
        state = self.session_data.get(session_id)
        before = [] if state is None else [(c._id, value) for c, value, _ in state.state_components]
        super().delete_state(session_id, expired_only)
        for component, value in before:
            had = isinstance(value, PageState) and (value.runs or value.lost)
            if state is not None and had and component not in state.state_data:
                state[component] = PageState(lost=True)


class _State(SessionState):
    """Gradio's state of one session, without the configuration of every component: only its deep links read that, and
    to make it keeps the loop, and with it everybody, for 20 ms whenever somebody makes up a session."""

    def __init__(self, blocks: Any):
        super().__init__(cast(Any, SimpleNamespace(default_config=blocks.default_config, blocks={})))

    def __setitem__(self, key: int, value: Any) -> None:
        # A run that goes on answers from the state that it began with; see PageState.after.
        now = self.state_data.get(key)
        if isinstance(now, PageState) and isinstance(value, PageState):
            value = value.after(now)
        super().__setitem__(key, value)


def _held_bytes(state: SessionState) -> int:
    return sum(value.held_bytes for value in list(state.state_data.values()) if isinstance(value, PageState))
