"""Assisted generation of transformers, recorded while ``generate`` runs.

Three hooks, all undone on exit. The object that proposes candidates has two methods which bracket every step of
``GenerationMixin._assisted_decoding``: ``get_candidates`` opens it, ``update_candidate_strategy`` ends it, with the
logits that were decided by, after all processors. A forward hook reads the target's logits before processors write
into them, its position ids, and its KV cache before it is cropped. ``_speculative_sampling`` decides in between; what
it draws is seen by a ``TorchFunctionMode`` around it: the coins, what they are compared with, and the bonus' row.
Nothing of ours draws a random number.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers import __version__ as transformers_version
from transformers.generation import utils
from transformers.generation.stopping_criteria import StopStringCriteria

from specviz.errors import SettingsError
from specviz.recorder.about import recordable_stops
from specviz.recorder.adapters.hooks import Hooks
from specviz.recorder.adapters.transformers_modes import Described, describe
from specviz.recorder.arrays import WrongCall
from specviz.recorder.recorder import VARIABLE, Recorder
from specviz.recorder.step_record import NoStep, StepRecord
from specviz.trace.schema import EndReason, Proposal

HOOKED = ("generate", "_get_stopping_criteria", "_get_candidate_generator")
"""Methods of the model that its instance has another of while it is attached."""
DECIDES = "_speculative_sampling"
"""The function of transformers.generation.utils that is wrapped while any model is attached."""

_now = threading.local()
"""``decision``: the step of this thread that is being decided; what is drawn there belongs to it."""
_lock = threading.Lock()
_attached: list[Any] = []
_decide: Callable[..., Any] | None = None


def fits(thing: Any) -> bool:
    """Whether it is a model of transformers that generates."""
    return all(callable(getattr(thing, name, None)) for name in HOOKED)


@contextmanager
def attach(
    model: Any, path: str | os.PathLike[str] | None = None, *, tokenizer: Any = None, **options: Any
) -> Iterator[Recorder]:
    """Record what ``model.generate(...)`` of transformers does with a draft, each call as a request of its own.

    Args:
        model: the target; the one whose ``generate`` is called.
        path, options: see :func:`specviz.recorder.adapters.attach`. Requests are called "1", "2" and so on.
        tokenizer: shows tokens as text; None: token ids are shown.

    Raises:
        SettingsError: if the model is attached already.
    """
    named = {"engine": "transformers", "version": transformers_version, "target": model}
    if tokenizer is not None:
        named["decode"] = tokenizer.decode
    with Recorder(path, **{**named, **options}) as recorder:
        if os.environ.get(VARIABLE) == "0":
            yield recorder
            return
        hooks = _Hooks(model, recorder)
        hooks.install()
        try:
            yield recorder
        finally:
            hooks.undo()
        if not hooks.requests:
            with recorder.calling("attach"):
                raise WrongCall("no generate() of this model had a draft, so nothing was recorded", "nothing")


class _Hooks:
    """What is hooked on one model, and the calls of ``generate`` that were recorded."""

    def __init__(self, model: Any, recorder: Recorder):
        self.model, self.recorder = model, recorder
        self.requests = 0
        self.local = threading.local()
        self._handle: Any = None
        self._methods = Hooks()

    def install(self) -> None:
        with _lock:
            if any(one.model is self.model for one in _attached):
                raise SettingsError("This model is attached already; leave that block first.")
            self._handle = self.model.register_forward_hook(self._after_forward, with_kwargs=True)
            for name, make in zip(HOOKED, (self._generate, self._stopping, self._generator), strict=True):
                self._methods.replace(self.model, name, make)
            _attached.append(self)
            _wrap_decision()

    def undo(self) -> None:
        with _lock:
            self._handle.remove()
            self._methods.undo()
            _attached.remove(self)
            if not _attached:
                _unwrap_decision()

    def _generate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def generate(*args: Any, **kwargs: Any) -> Any:
            if self._running() is not None:  # a draft made of the model itself, as in early exit
                return original(*args, **kwargs)
            try:
                found = original(*args, **kwargs)
            except BaseException as error:
                if (running := self._running()) is not None:
                    running.failed(error)
                raise
            else:
                if (running := self._running()) is not None:
                    with self.recorder.calling("attach"):
                        running.ended()
                return found
            finally:
                self.local.running = self.local.stops = _now.decision = None

        return generate

    def _stopping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get_stopping_criteria(*args: Any, **kwargs: Any) -> Any:
            found = original(*args, **kwargs)
            if self._running() is None:
                self.local.stops = [one for one in found if isinstance(one, StopStringCriteria)]
                tokenizer = kwargs.get("tokenizer")
                if self.local.stops and tokenizer is not None:
                    self.recorder.decode_with(tokenizer.decode)
            return found

        return get_stopping_criteria

    def _generator(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get_candidate_generator(*args: Any, **kwargs: Any) -> Any:
            generator = original(*args, **kwargs)
            with self.recorder.calling("attach"):
                with _lock:
                    self.requests += 1
                    name = str(self.requests)
                stops = getattr(self.local, "stops", None) or []
                self.local.running = _Generation(self.recorder, name, self.model, generator, kwargs, stops)
            return generator

        return get_candidate_generator

    def _after_forward(self, _: Any, __: Any, kwargs: dict[str, Any], output: Any) -> None:
        running = self._running()
        if running is not None and not running.drafting:
            with self.recorder.calling("attach"):
                running.scored(kwargs, output)

    def _running(self) -> _Generation | None:
        return getattr(self.local, "running", None)


class _Generation:
    """One call of ``generate``, and the step that it is in.

    Attributes:
        drafting: whether candidates are being proposed: forwards of the model itself are not of the step then.
    """

    def __init__(
        self, recorder: Recorder, name: str, model: Any, generator: Any, asked: dict[str, Any], stops: list[Any]
    ):
        self.recorder, self.name, self.stops = recorder, name, stops
        self.drafting = False
        self.step: StepRecord | NoStep | None = None
        self.first = True
        self.last: list[int] = []
        """The tokens that the last step committed, behind a text of ``length`` tokens."""
        self.length = 0
        ids = asked["input_ids"]
        # Of an encoder-decoder model text and cache are the decoder's; what the encoder read is another text.
        self.of_decoder = "decoder_" if model.config.is_encoder_decoder else ""
        padding = _padding(asked.get("model_kwargs", {}).get(f"{self.of_decoder}attention_mask"))
        self.padding = padding
        strings = dict.fromkeys(string for one in stops for string in one.stop_strings)
        self.about: Described = describe(model, generator, asked, padding=padding, stop=recordable_stops(strings))
        recorder.prompt(
            ids[0, padding:],
            name,
            about=self.about.engine,
            draft=self.about.draft,
            end_tokens=self.about.end_tokens,
        )
        self._bracket(generator)

    def _bracket(self, generator: Any) -> None:
        get, update = generator.get_candidates, generator.update_candidate_strategy

        @functools.wraps(get)
        def get_candidates(input_ids: Any, *args: Any, **kwargs: Any) -> Any:
            with self.recorder.calling("attach"):
                self.begin(input_ids)
            self.drafting = True
            try:
                candidates, logits = get(input_ids, *args, **kwargs)
            finally:
                self.drafting = False
            with self.recorder.calling("attach"):
                self.drafted(candidates, logits)
            return candidates, logits

        @functools.wraps(update)
        def update_candidate_strategy(input_ids: Any, scores: Any, *args: Any, **kwargs: Any) -> Any:
            with self.recorder.calling("attach"):
                self.finish(input_ids, scores)
            return update(input_ids, scores, *args, **kwargs)

        generator.get_candidates, generator.update_candidate_strategy = get_candidates, update_candidate_strategy

    # ------------------------------------------------------------------------------------------- one step, in order

    def begin(self, input_ids: Any) -> None:
        self.length = int(input_ids.shape[1])
        self.root = input_ids[:, -1:]
        self.logits: Any = None
        self.positions: Any = None
        self.cache: AbstractContextManager[Any] | None = None
        self.drawn: _Drawn | None = None
        self.step = self.recorder.step(self.name, fused_prefill=self.first)
        self.step.__enter__()

    def drafted(self, candidates: Any, logits: Any) -> None:
        self.candidates = candidates[:, self.length :]
        self.q = None if logits is None or not self.candidates.shape[1] else logits
        _now.decision = self

    def scored(self, kwargs: dict[str, Any], output: Any) -> None:
        """The target has run. Its logits are copied: processors write into them where they are float32."""
        rows = self.candidates.shape[1] + 1
        self.logits = output.logits[:, -rows:].clone()
        ids, positions = (kwargs.get(f"{self.of_decoder}{name}") for name in ("input_ids", "position_ids"))
        if isinstance(self.step, StepRecord) and ids is not None:
            self.step.prefilled = max(0, ids.shape[1] - rows)
        if positions is not None and positions.dim() == 2 and positions.shape[1] >= rows:
            self.positions = positions[0, -rows:]
        cache = getattr(output, "cache", None)
        cache = getattr(cache, "self_attention_cache", cache)
        if self.step is not None and hasattr(cache, "layers") and not self.padding:
            self.cache = self.step.cache("target", cache, length=self.length - 1)
            self.cache.__enter__()

    def finish(self, input_ids: Any, scores: Any) -> None:
        """The step has been decided: ``input_ids`` are the text with what was committed, the cache is cropped."""
        step, _now.decision = self.step, None
        if step is None:
            return
        sampled = self.about.sampled
        drafted: list[int] = self.candidates[0].tolist()
        self.last, self.text = input_ids[0, self.length :].tolist(), input_ids
        step.tree(torch.cat((self.root.to(self.candidates), self.candidates), dim=1))
        if self.q is not None:
            proposal: Proposal = "without_replacement" if sampled else "top_k"
            step.draft(self.q.softmax(-1), nodes=[*range(self.q.shape[1])], proposal=proposal)
        step.target(scores.softmax(-1), logits=self.logits, positions=self.positions)
        cropped_as_seen = True
        if self.drawn is not None and self.drawn.coins is not None:
            self._decided_by_coins(step, self.drawn, len(drafted))
        elif self.about.engine["rule"] == "greedy":
            self._decided_by_argmax(step, scores[0].argmax(-1).tolist(), drafted)
        else:
            cropped_as_seen = self._decided_unseen(step, drafted)
        if self.cache is not None and cropped_as_seen:
            self.cache.__exit__(None, None, None)
        self.step, self.first = None, False
        step.__exit__(None, None, None)

    def _decided_by_coins(self, step: StepRecord | NoStep, drawn: _Drawn, drafted: int) -> None:
        """Of the coins only those that mattered are recorded: down to the first rejection."""
        matches = int(drawn.matches)
        looked_at = min(matches + 1, drafted)
        coins = drawn.coins.flatten()[:looked_at].tolist()
        ratios = drawn.ratios.flatten()[:looked_at].tolist()
        finite = {node: ratio for node, ratio in enumerate(ratios, start=1) if 0 <= ratio < float("inf")}
        step.verify(
            accepted=[*range(1, matches + 1)],
            bonus=drawn.tokens[0, -1:],
            committed=self.last,
            coins=dict(enumerate(coins, start=1)),
            thresholds=finite,
            bonus_row=drawn.row,
            source="residual" if matches < drafted else "target",
        )

    def _decided_by_argmax(self, step: StepRecord | NoStep, selected: list[int], drafted: list[int]) -> None:
        """The path as it was before the text was cut at an end of sequence, or at its full length."""
        matches = 0
        while matches < len(drafted) and drafted[matches] == selected[matches]:
            matches += 1
        accepted = [*range(1, matches + 1)]
        step.verify(accepted=accepted, bonus=selected[matches], committed=self.last, source="argmax")

    def _decided_unseen(self, step: StepRecord | NoStep, drafted: list[int]) -> bool:
        """What was drawn at each node is seen in the text alone. Returns whether all of it is: where the text ends in
        a drafted token it was cut there, and what comes after is not known."""
        kept = len(self.last) - 1
        cut = kept < len(drafted) and self.last[-1] == drafted[kept]
        step.verify(
            accepted=[*range(1, kept + cut + 1)],
            bonus=None if cut else self.last[-1],
            committed=self.last,
            source=None if cut else "target",
        )
        return not cut

    # --------------------------------------------------------------------------------------------- how it came to end

    def failed(self, error: BaseException) -> None:
        step, self.step = self.step, None
        if step is not None:
            with self.recorder.calling("attach"):
                step.tree(self.root)
            step.__exit__(type(error), error, error.__traceback__)
        self.recorder.end("error", f"{type(error).__name__}: {error}", self.name)

    def ended(self) -> None:
        length = self.length + len(self.last)
        reason: EndReason = "stopped"
        if self.last and self.last[-1] in self.about.end_tokens:
            reason = "end of sequence"
        elif any(bool(one(self.text, None).any()) for one in self.stops):
            reason = "stop string"
        elif self.about.longest is not None and length >= self.about.longest:
            reason = "max_new_tokens"
        self.recorder.end(reason, request=self.name)


# ------------------------------------------------------------------------------------------------------ the decision


class _Drawn(TorchFunctionMode):
    """What ``_speculative_sampling`` draws inside: the coins, the ratios they are compared with, the bonus' row."""

    def __init__(self) -> None:
        super().__init__()
        self.coins: Any = None
        self.ratios: Any = None
        self.row: Any = None
        self.tokens: Any = None
        self.matches: Any = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is torch.rand_like:
            self.ratios, self.coins = args[0], found
        elif func is torch.multinomial:
            self.row = args[0]
        return found


def _wrap_decision() -> None:
    global _decide
    current = getattr(utils, DECIDES, None)
    if current is not None and current is not _decided:
        _decide = current
        setattr(utils, DECIDES, _decided)


def _unwrap_decision() -> None:
    if getattr(utils, DECIDES, None) is _decided:
        setattr(utils, DECIDES, _decide)


def _decided(*args: Any, **kwargs: Any) -> Any:
    """``_speculative_sampling``, seen where it is of a step that is recorded."""
    assert _decide is not None
    step = getattr(_now, "decision", None)
    if step is None:
        return _decide(*args, **kwargs)
    with _Drawn() as drawn:
        found = _decide(*args, **kwargs)
    drawn.tokens, drawn.matches = found
    step.drawn = drawn
    return found


def _padding(mask: Any) -> int:
    """How many tokens on the left the mask hides."""
    if mask is None or mask.dim() != 2:
        return 0
    return int((mask[0].cumsum(-1) == 0).sum())
