"""What the adapters share: names of an engine replaced and put back, and the step of it that is being recorded."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from specviz.recorder.arrays import WrongCall
from specviz.recorder.recorder import VARIABLE, Recorder
from specviz.recorder.step_record import NoStep, StepRecord

Function = Callable[..., Any]


class Hooks:
    """Attributes of an engine's modules, classes and objects that are others while they are hooked."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Function], Function]) -> None:
        """Let ``owner.name`` be ``make(original)``."""
        original = getattr(owner, name)
        if name in vars(owner):
            self._undo.append(functools.partial(setattr, owner, name, vars(owner)[name]))
        else:  # found by way of its class, and found there again when it is deleted here
            self._undo.append(functools.partial(delattr, owner, name))
        setattr(owner, name, functools.wraps(original)(make(original)))

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()


def arguments(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name; those that were left out with what they are then."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


class Following:
    """Records one engine's steps: each call of its ``generate`` as a request, named "1", "2" and so on.

    Attributes:
        text: what was committed, as far as it is recorded; None before the first step.
        step: the one that is open.
    """

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.requests = 0
        self.text: list[int] | None = None
        self.step: StepRecord | NoStep | None = None

    def begin(self, text: list[int]) -> StepRecord | NoStep:
        """Open a step behind this text, whose last token is the root. A text that is not what was committed before is
        the prompt of another request."""
        self.abandon(None)
        if text != self.text:
            self.requests += 1
            self.recorder.prompt(text, str(self.requests))
        self.text = [*text]
        self.step = self.recorder.step(str(self.requests))
        self.step.__enter__()
        return self.step

    def finish(self, committed: list[int]) -> None:
        """Write the open step, whose verdict was said."""
        step, self.step = self.step, None
        assert step is not None
        assert self.text is not None
        self.text += committed
        step.__exit__(None, None, None)

    def abandon(self, error: BaseException | None) -> None:
        """Write the open step, if there is one, as far as it got."""
        step, self.step = self.step, None
        if step is not None:
            step.__exit__(None if error is None else type(error), error, None)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Around the engine's own function: what it raises ends the step, and goes on to its caller."""
        try:
            yield
        except BaseException as error:
            with self.recorder.calling("attach"):
                self.abandon(error)
            raise


@contextmanager
def recording(
    path: str | os.PathLike[str] | None, options: Mapping[str, Any], install: Callable[[Recorder, Hooks], Following]
) -> Iterator[Recorder]:
    """A recorder that is open, and the hooks of an adapter that are in place, for one block."""
    with Recorder(path, **options) as recorder:
        if os.environ.get(VARIABLE) == "0":
            yield recorder
            return
        hooks = Hooks()
        try:
            following = install(recorder, hooks)
            try:
                yield recorder
            except BaseException as error:
                with recorder.calling("attach"):
                    following.abandon(error)
                raise
        finally:
            hooks.undo()
        with recorder.calling("attach"):
            following.abandon(None)
            if not following.requests:
                raise WrongCall(
                    "none of the functions that are hooked was called, so nothing was recorded; attach the module or "
                    "object whose own names the engine calls",
                    "nothing",
                )
