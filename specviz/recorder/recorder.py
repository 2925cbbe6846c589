"""Record somebody else's decoding loop: the object that the loop talks to."""

from __future__ import annotations

import atexit
import html
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import ValidationError

from specviz.errors import RecorderError, RecorderStopped, SettingsError, TraceError, shown
from specviz.recorder.about import meant_rule, model_info, sampling_of, stops_of
from specviz.recorder.arrays import WrongCall, snapshot
from specviz.recorder.assemble import Assembled, assemble
from specviz.recorder.build import Texts, build_failed, build_step
from specviz.recorder.cache_reading import CacheReader
from specviz.recorder.checks import Examined, examine
from specviz.recorder.checks.calls import calls
from specviz.recorder.checks.sums import SUMS
from specviz.recorder.checks.text import PATH
from specviz.recorder.findings import Audited
from specviz.recorder.gate import EngineGate
from specviz.recorder.model_rows import whole
from specviz.recorder.processors import Stated, stated
from specviz.recorder.raw_step import RawStep
from specviz.recorder.recording import RecordingFile, new_id
from specviz.recorder.reports import Reports
from specviz.recorder.request import Request
from specviz.recorder.step_record import NO_STEP, NoStep, StepRecord
from specviz.trace.io import parse_trace
from specviz.trace.recording import End, Run
from specviz.trace.schema import (
    LONGEST_NAME,
    LONGEST_PROMPT,
    Choice,
    EndReason,
    Engine,
    FailedStep,
    Models,
    ProcessorMode,
    Processors,
    Sampling,
    Step,
    Timings,
    Trace,
    cut,
)
from specviz.verifier_styles import STYLES

VARIABLE = "SPECVIZ"
"""The environment's variable which, when it is 0, makes every recorder do nothing."""


class Recorder:
    """Writes what a decoding loop does, step by step, to a file that is whole whenever the process is killed.

        rec = specviz.Recorder("run.jsonl", prompt=ids, decode=tokenizer.decode, engine="my-loop")
        while ...:
            with rec.step() as step:
                step.tree(tokens, parents)
                step.draft(probs=q)
                step.target(probs=p)
                step.verify(accepted=path, bonus=token, coins=coins)

    A call that cannot be recorded as it was made warns (:class:`specviz.RecorderWarning`), once for each kind of
    mistake, and what can be recorded is; nothing is raised into the loop. With the environment variable ``SPECVIZ=0``
    nothing is done at all. Safe to use from several threads, and with steps of several requests at a time.

    Args:
        path: the recording; ``specviz.load`` and all commands open it. One that is there already is renamed, to
            ``run.1.jsonl`` or the next free number. None: kept in memory.
        prompt: the token ids that decoding began with; for the requests of a batch see :meth:`prompt`.
        decode: called with a list of token ids, gives their text; None: token ids are shown.
        sampling: what makes the target's processed rows of logits: a mapping with ``temperature``, ``top_k``,
            ``top_p``, ``eta_cutoff``, or a temperature. None: not said; then logits alone give no processed rows.
        draft_sampling: the same of the draft.
        processors: what changes the target's logits by the text before that, ``"repetition_penalty:penalty=1.2"``, as
            :func:`specviz.record` takes it. Logits are then those that the model returned. None: not said.
        processor_mode: by which text: ``exact``: each node by the text on its path; ``frozen``: all by the committed
            text. Rows are checked to be so.
        processor_draft: whether the draft's logits are processed, too.
        stop: texts that end the text: the token that completes one is the last.
        engine: how your engine is called; not as one of specviz's verifiers is.
        version: of it.
        rule: the verifier that it says it has, by specviz's name where there is one, e.g. ``rejection``.
        lossless: whether it says that its tokens are distributed as the target's own samples.
        target, draft: a name, or the module, whose size and number format are noted.
        end_tokens: token ids that end the text.
        rows: whether whole rows are kept, too, in half precision, see :mod:`specviz.recorder.recording`.
        strict: raise :class:`specviz.RecorderError` instead of warning.
        gate: wait after each step until the page of ``specviz app --follow`` lets the loop go on, see
            :mod:`specviz.recorder.gate`. Its Stop sets ``stopped``, for the loop to look at; with ``gate="raise"`` the
            step raises :class:`specviz.RecorderStopped` when it ends.

    Attributes:
        seconds: spent inside the recorder's calls, without waiting at the gate.
        stopped: whether Stop was pressed on the page that steps this loop; nothing waits then any more.

    Raises:
        SettingsError: for arguments that cannot be, and a file that cannot be written, is no recording, or is written
            by another recorder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        prompt: Any = None,
        decode: Callable[[list[int]], str] | None = None,
        sampling: Sampling | Mapping[str, Any] | float | None = None,
        draft_sampling: Sampling | Mapping[str, Any] | float | None = None,
        processors: str | Sequence[str | Choice] | Processors | None = None,
        processor_mode: ProcessorMode = "exact",
        processor_draft: bool = False,
        stop: str | Sequence[str] = (),
        engine: str = "my-loop",
        version: str | None = None,
        rule: str | None = None,
        lossless: bool | None = None,
        target: Any = None,
        draft: Any = None,
        end_tokens: Sequence[int] = (),
        rows: bool = False,
        strict: bool = False,
        gate: bool | Literal["raise"] = False,
    ):
        self.seconds = 0.0
        self.stopped = False
        self._on = os.environ.get(VARIABLE) != "0"
        if not self._on:
            return
        self._rows = rows
        self._report = Reports(strict)
        self._lock = threading.RLock()
        self._reader = CacheReader()
        self._texts = self._texts_of(decode)
        self._requests: dict[str | None, Request] = {}
        self._open: set[str | None] = set()
        """Requests with a step that has not ended."""
        self._closes = False
        """Whether the last step is written when the process ends."""
        self._late: deque[tuple[StepRecord, BaseException | None]] = deque()
        if engine in STYLES or not 0 < len(engine) <= LONGEST_NAME:
            raise SettingsError(
                f"An engine cannot be called {shown(engine)}: specviz's own verdicts stand under the names of its "
                f"verifiers ({', '.join(STYLES)}); choose another name."
            )
        self._engine = Engine(
            name=engine,
            version=version,
            rule=rule,
            lossless=lossless,
            target=sampling_of(sampling),
            draft=sampling_of(draft_sampling),
            processors=stated(processors, processor_mode, draft=processor_draft),
            stop=stops_of(stop),
        )
        if meant := meant_rule(rule):
            self._report("Recorder", "rule", f"Recorder(): {meant}")
        self._models = Models(target=model_info(target), draft=model_info(draft))
        self._end_tokens = _ids(end_tokens)
        if gate and path is None:
            raise SettingsError("gate= steps through a recording in a file; say with path= where it is written.")
        id = new_id()
        self._gate = EngineGate(Path(path), id) if gate and path is not None else None
        self._raises = gate == "raise"
        try:
            self._file = RecordingFile(path, id)
        except SettingsError:
            if self._gate is not None:
                self._gate.close()
            raise
        if prompt is not None:
            self.prompt(prompt)

    # ------------------------------------------------------------------------------------------------ for the loop

    def prompt(
        self,
        tokens: Any,
        request: str | int | None = None,
        *,
        about: Mapping[str, Any] | None = None,
        draft: Any = None,
        end_tokens: Sequence[int] | None = None,
    ) -> None:
        """Begin a request, before its first step.

        Args:
            tokens: the token ids that its text begins with, at least one.
            request: its name in a batch; None: there is one only.
            about: fields of :class:`~specviz.trace.schema.Engine` in which this request differs from the others:
                ``rule``, ``lossless``, ``target``, ``draft``, ``options``, ``processors``, ``stop``.
            draft, end_tokens: as of the recorder, where this request has others.
        """
        if not self._on:
            return
        with self._timed(), self._report.calling("prompt"):
            name = _name(request)
            ids = whole(snapshot(tokens), "prompt", "tokens")
            if not ids or min(ids) < 0:
                raise WrongCall("prompt(): a prompt is at least one token id, each from 0 on", "tokens")
            if name in self._requests:
                which = "there is one already" if name is None else f"the request {shown(name)} has one already"
                raise WrongCall(f"prompt(): {which}; give each text of a batch a name, with request=", "twice")
            engine = self._engine if about is None else Engine(**{**dict(self._engine), **about})
            models = self._models if draft is None else Models(target=self._models.target, draft=model_info(draft))
            run = Run(
                engine=engine,
                models=models,
                prompt=cut(self._texts.whole(ids), LONGEST_PROMPT),
                prompt_tokens=tuple(ids),
                prompt_texts=self._texts.of(ids),
                end_tokens=self._end_tokens if end_tokens is None else _ids(end_tokens),
            )
            self._requests[name] = Request(len(self._requests), run, ids)
            self._add(name, run)

    def step(
        self, request: str | int | None = None, *, prefilled: int | None = None, fused_prefill: bool = False
    ) -> StepRecord | NoStep:
        """A step of the loop, for ``with``. What the loop raises inside is never caught: the step is then recorded as
        far as it got, with the error.

        Args:
            request: whose step it is.
            prefilled: context tokens that were fed right before it; None: not said.
            fused_prefill: whether in the forward that scored the tree.
        """
        if not self._on:
            return NO_STEP
        return StepRecord(
            _name(request), prefilled, fused_prefill, self._reader, self._report, self._open, self._finish
        )

    def end(self, reason: EndReason = "stopped", message: str | None = None, request: str | int | None = None) -> None:
        """Say why it ended: ``end of sequence``, ``stop string``, ``max_new_tokens``, ``context limit``, ``stopped`` or
        ``error``."""
        if not self._on:
            return
        with self._timed(), self._report.calling("end"):
            self._write_late()
            if reason not in get_args(EndReason):
                raise WrongCall(
                    f"end(): there is no reason {shown(reason)}; {', '.join(get_args(EndReason))}", "reason"
                )
            if self._known("end", _name(request)):
                self._add(_name(request), End(reason=reason, message=None if message is None else cut(str(message))))

    def trace(self, request: str | int | None = None) -> Trace:
        """What was recorded so far; of several requests the one that is named, or the first.

        Raises:
            TraceError: if there is none, as with ``SPECVIZ=0``.
        """
        if not self._on:
            raise TraceError(f"Nothing was recorded, because {VARIABLE}=0 is set in the environment; unset it.")
        with self._lock:
            self._write_late()
            return parse_trace(self._file.read(), request=_name(request))

    def audit(self, target: Any = None, draft: Any = None, *, request: str | int | None = None) -> Audited:
        """What the checks say of what was recorded so far: a list that shows itself as a table in a notebook, and as
        text; see :func:`specviz.recorder.audit.audit`.

        Args:
            target, draft: the models, whose rows are then computed again.
            request: as in :meth:`trace`.

        Raises:
            TraceError: if nothing was recorded.
            ModelError: if a model cannot be found or read.
        """
        from specviz.recorder.audit import audit  # with all checks: not needed to record

        return Audited(audit(self.trace(request), target, draft))

    def close(self) -> None:
        """Close the file; nothing can be recorded after it. Without it the file is whole all the same."""
        if self._on:
            with self._lock:
                self._write_late()
                self._file.close()
                if self._gate is not None:
                    self._gate.close()

    def decode_with(self, decode: Callable[[list[int]], str]) -> None:
        """For adapters: what gives the text of tokens, where the recorder was told of nothing that does."""
        if self._on and not self._texts:
            with self._lock:
                self._texts = self._texts_of(decode)

    def _texts_of(self, decode: Callable[[list[int]], str] | None) -> Texts:
        return Texts(self._report.careful(decode) if decode else None, decode)

    def calling(self, name: str) -> AbstractContextManager[None]:
        """For adapters: what goes wrong in the block is told, and not raised into the engine's loop."""
        return self._report.calling(name)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        try:
            return self.trace()._repr_html_()
        except TraceError as error:  # nothing was recorded, or nothing yet
            return f"<p>{html.escape(str(error))}</p>"

    # ------------------------------------------------------------------------------------------------ of one step

    def _finish(self, step: StepRecord, error: BaseException | None) -> None:
        """Write a step that has ended. One whose arrays are still on their way from a GPU is written with the next one:
        nothing waits inside the loop's step, but for a gate."""
        with self._timed():
            self.seconds += step.own_seconds
            self._late.append((step, error))
            before = self._file.steps
            while self._late and (len(self._late) > 1 or self._gate is not None or self._late[0][0].said.ready()):
                self._write_next()
            written = self._file.steps
            if self._late and not self._closes:
                self._closes = True
                atexit.register(self.close)
        # A step that an error has ended is one to look at, too; an interrupt is not held up.
        if self._gate is not None and written > before and (error is None or isinstance(error, Exception)):
            self.stopped = self._gate.wait(written)
            if self.stopped and self._raises and error is None:
                raise RecorderStopped(
                    f"Stop was pressed after step {written} of {self._file.path}, which has all steps up to it."
                )

    def _write_late(self) -> None:
        while self._late:
            self._write_next()

    def _write_next(self) -> None:
        step, error = self._late.popleft()
        try:
            if self._known("step", step.request):
                # What an engine's numbers are is said by the checks, not by numpy in the middle of its loop.
                with np.errstate(all="ignore"):
                    self._write_step(step, error, self._requests[step.request])
        except RecorderError:
            if error is None:
                raise  # strict, and nothing of the loop's own is on its way
        except Exception as own:
            if step.request in self._requests:
                self._requests[step.request].lost = True  # no other step can follow the one that is missing
            self._report("step", type(own).__name__, f"step(): {type(own).__name__}: {own}", own, raising=error is None)

    def _write_step(self, step: StepRecord, error: BaseException | None, request: Request) -> None:
        wrong: list[WrongCall] = []
        run, engine = request.run, request.run.engine
        said = engine.processors
        of_run = None if said is None else Stated(said, len(run.prompt_tokens), tuple(run.end_tokens))
        samplings = (engine.target, engine.draft)
        assembled = assemble(step.said, request.steps, request.text, samplings, wrong.append, of_run)
        raw = assembled.raw
        raw.guessed = request.guessed
        raw.wrong_calls = [*step.wrong, *(str(mistake) for mistake in wrong if mistake.kind not in (SUMS, PATH))]
        self._learn(step, raw, request)
        raw.rule, raw.lossless = step.rule or request.run.engine.rule, request.run.engine.lossless
        if error is not None or assembled.lacks:
            message = assembled.lacks or "" if error is None else _said_by(error)
            self._add(step.request, build_failed(raw, self._texts, cut(message)))
            if error is None:
                wrong.append(WrongCall(f"step(): {message} It is recorded as one that failed", "whole"))
        else:
            if self._rows:
                self._add_rows(request.number, raw)
            self._add(step.request, self._step(step, assembled))
            request.steps += 1
            request.text += raw.committed
            request.guessed |= raw.derived and assembled.broken
        for mistake in wrong:
            self._report(str(mistake).partition("(")[0], mistake.kind, str(mistake), raising=error is None)

    def _step(self, step: StepRecord, assembled: Assembled) -> Step:
        timings = Timings(total=max(0.0, step.seconds - step.own_seconds))
        examined = self._examined(assembled.raw)
        try:
            return build_step(
                assembled.raw,
                assembled.connected,
                self._engine.name,
                self._texts,
                examined.checks,
                timings,
                verdicts=examined.verdicts,
                processed=examined.processed,
                source=step.source,
                prefilled=step.prefilled,
                fused_prefill=step.fused_prefill,
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            self._report(
                "step", "value", f"step(): {where}: {first['msg']}; its rows and caches are not recorded", error
            )
            raw = assembled.raw
            bare = RawStep(raw.index, raw.context, raw.tokens, raw.parents, text=raw.text, committed=raw.committed)
            return build_step(bare, assembled.connected, self._engine.name, self._texts, (), timings)

    def _examined(self, raw: RawStep) -> Examined:
        """What the checks say of it, while its rows are there."""
        try:
            return examine(raw)
        except Exception as error:  # of specviz, and no reason to lose a step
            sentence = f"step(): its checks ended in {type(error).__name__}: {error}"
            self._report("step", "checks", sentence, error)
            raw.wrong_calls.append(sentence)
            return Examined(calls(raw), {})

    def _learn(self, step: StepRecord, raw: RawStep, request: Request) -> None:
        """Say of the run what its steps tell: the rule, and the rows' number formats."""
        engine = request.run.engine
        formats = {"dtype": raw.dtype, "draft_dtype": raw.draft_dtype}
        options = {**{name: kind for name, kind in formats.items() if kind}, **engine.options}
        rule = engine.rule or (None if step.rule is None else cut(step.rule, LONGEST_NAME))
        if (rule, options) != (engine.rule, engine.options):
            known = engine.model_copy(update={"rule": rule, "options": options})
            request.run = request.run.model_copy(update={"engine": known})
            self._add(step.request, request.run)

    def _known(self, call: str, request: str | None) -> bool:
        """Whether something can be written of this request."""
        if request in self._requests:
            return not self._requests[request].lost
        which = "" if request is None else f" of the request {shown(request)}"
        self._report(
            call, "prompt", f"{call}(): no prompt{which} was given, so nothing of it is recorded; call prompt(ids)"
        )
        return False

    def _add(self, name: str | None, part: Run | Step | FailedStep | End) -> None:
        try:
            self._file.add(name, part)
        except (OSError, ValueError) as error:  # a full disk, a closed file
            self._requests[name].lost = True
            why = getattr(error, "strerror", None) or error
            self._report(
                "step", "write", f"the recording cannot be written any more ({why}); what is in it stays", error
            )

    def _add_rows(self, number: int, raw: RawStep) -> None:
        try:
            self._file.add_rows(number, raw)
        except OSError as error:
            self._report("step", "rows", f"its whole rows cannot be written ({error.strerror}); the step is", error)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Inside the lock; the time counts."""
        began = time.perf_counter()
        with self._lock:
            try:
                yield
            finally:
                self.seconds += time.perf_counter() - began


def _said_by(error: BaseException) -> str:
    """Its kind and its words, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def _ids(tokens: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted({int(token) for token in tokens}))


def _name(request: str | int | None) -> str | None:
    return None if request is None else str(request)[:LONGEST_NAME]
