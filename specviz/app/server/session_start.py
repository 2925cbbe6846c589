"""What a session of the engine is made from: a plain value, so that another process can make the session, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specviz.app.server.limits import Limits
from specviz.errors import SettingsError
from specviz.trace.schema import Settings, Trace
from specviz.verifiers import Verifier


@dataclass(frozen=True)
class SessionStart:
    """A run from its prompt, a recorded run that goes on, or a fork of one.

    Attributes:
        before: the recorded run; its prompt counts, and not ``prompt``.
        fork_at: how many of its steps a fork keeps; None to go on after the last one with its own settings, of which
            ``settings`` may change the token limit.
        same: whether what goes on stays the run it was, under its id. Otherwise it is a run forked from it.
    """

    prompt: str
    settings: Settings
    limits: Limits
    before: Trace | None = None
    fork_at: int | None = None
    same: bool = False

    def open(self, pair: Any) -> Any:
        """The engine's session.

        Raises:
            SettingsError: for what no run can have, or none of this page; for a run of other models.
        """
        from specviz.engine.session import Session  # imports torch: not needed to look at a trace

        new_tokens = self.settings.max_new_tokens
        if self.before is None:
            return new_session(self.limits, pair, self.settings, self.prompt)
        chosen = self.settings
        if self.fork_at is None:
            chosen = self.before.own_settings().model_copy(update={"max_new_tokens": new_tokens})
        self.limits.check_run(pair, chosen, len(self.before.prompt_tokens))
        if self.fork_at is not None:
            session = Session.resume(pair, self.before, steps=self.fork_at, settings=self.settings)
            if session.end_reason is not None:
                raise SettingsError(
                    f"There is nothing to run at this step ({session.end_reason}); allow more new tokens, or fork "
                    "earlier."
                )
            return session
        session = Session.resume(pair, self.before, same=self.same)
        if new_tokens != session.settings.max_new_tokens:
            session.go_on(new_tokens)
        return session

    @property
    def steps_left(self) -> int:
        """Steps that can follow at most: each one commits a token."""
        kept = self.before.steps[: self.fork_at] if self.before else ()
        return max(1, self.settings.max_new_tokens - sum(len(step.committed) for step in kept))

    @property
    def context(self) -> int:
        """Tokens that are fed before the first step; of a prompt its characters, which are more."""
        if self.before is None:
            return len(self.prompt)
        kept = self.before.steps[: self.fork_at]
        return len(self.before.prompt_tokens) + sum(len(step.committed) for step in kept)


def new_session(
    limits: Limits, pair: Any, settings: Settings, prompt: str, known: Mapping[str, Verifier] | None = None
) -> Any:
    """A new session of the engine, whose arguments the last four are.

    Raises:
        SettingsError: for what no run can have, or none of this page.
    """
    from specviz.engine.session import Session

    tokens = pair.encode(prompt, settings.chat, settings.prompt_end_token)
    limits.check_run(pair, settings, len(tokens))
    return Session(pair, settings, prompt, tokens, known)


def refuse_other_target(pair: Any, trace: Trace) -> None:
    """Check that a pair has the run's target: what another one says is no answer about this run.

    Raises:
        SettingsError: if it is another one.
    """
    from specviz.trace.identity import refuse_other_models

    refuse_other_models(pair.models, trace.models, ["target"])
