"""The processors that a run can have. transformers' own classes do the work.

A class of the user's, ``my.module:MyProcessor``, is code: it is imported by :func:`load_processor` alone, which the
command line and Python programs call. Settings in a file, or in a form of a page, only name it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from transformers import LogitsProcessor
from transformers.generation import (
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from specviz.errors import SettingsError, shown
from specviz.options import Options, parse_options
from specviz.processing import Function, Processing, Processor
from specviz.trace.schema import Choice, Option, Processors
from specviz.user_code import import_named

MOST_TOKENS = 10_000
"""Tokens that one processor names."""
Strength = Annotated[float, Field(ge=-1000, le=1000)]
Positive = Annotated[float, Field(gt=0, le=1000)]


@dataclass(frozen=True)
class About:
    """What a processor is made for, beside its options.

    Attributes:
        prompt: tokens of the prompt.
        end_tokens: those that end the text.
        vocabulary: V of the target.
    """

    prompt: int
    end_tokens: frozenset[int]
    vocabulary: int
    device: str


class OutputPenalty(LogitsProcessor):
    """Presence and frequency penalty as OpenAI's API and vLLM have them; transformers has none.

    ``logit -= frequency * count + presence * (count > 0)``, where ``count`` is how often the token stands in the
    output: the prompt does not count.
    """

    def __init__(self, prompt: int, presence: float = 0.0, frequency: float = 0.0):
        self.prompt, self.presence, self.frequency = prompt, presence, frequency

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        output = input_ids[:, self.prompt :]
        count = torch.zeros_like(scores).scatter_add_(1, output, torch.ones_like(output, dtype=scores.dtype))
        return scores - self.frequency * count - self.presence * (count > 0)


class _Penalty(Options):
    penalty: Positive = 1.1


class _Size(Options):
    size: Annotated[int, Field(ge=1, le=16)] = 3


class _Strength(Options):
    penalty: Strength = 0.5


class _Bias(Options):
    bias: str = ""


class _Count(Options):
    count: Annotated[int, Field(ge=0, le=1_000_000)] = 10


class _Tokens(Options):
    tokens: str = ""


class _MinP(Options):
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.05


def _never(_: Any) -> bool:
    return False


@dataclass(frozen=True)
class Kind:
    """A processor by name: its options, and how it is made from them."""

    name: str
    summary: str
    options: type[Options]
    make: Callable[[Any, About], Function]
    reads_text: Callable[[Any], bool]
    """Whether it does with these options, of which some do nothing; see :class:`~specviz.processing.Processor`."""
    late: bool = False
    check: Callable[[Any], object] = _never
    """Raises SettingsError for options that no models can have. What it returns is not asked."""


def _pairs(options: _Bias) -> dict[tuple[int, ...], float]:
    """Tokens, and the bias of the last of them after the others."""
    pairs: dict[tuple[int, ...], float] = {}
    for entry in options.bias.split():
        tokens, sign, bias = entry.rpartition(":")
        try:
            ids, value = tuple(int(token) for token in tokens.split("+")), float(bias)
        except ValueError:
            sign = ""
        if not sign or not -1000 <= value <= 1000:
            raise SettingsError(
                f"The logit bias {shown(entry)} is not of the form token:bias or token+token:bias with a bias from "
                "-1000 to 1000; an example is bias=5:2.5 17:-100."
            )
        pairs[ids] = value
    return pairs


def _biases(options: _Bias, about: About) -> Function:
    pairs = _pairs(options)
    _known([token for ids in pairs for token in ids], "logit_bias", about)
    return SequenceBiasLogitsProcessor([[list(ids), value] for ids, value in pairs.items()])


def _ids(options: _Tokens) -> list[int]:
    try:
        return [int(token) for token in options.tokens.split()]
    except ValueError:
        raise SettingsError(
            f"The tokens to suppress are ids with spaces between them, as in tokens=5 17, not {shown(options.tokens)}."
        ) from None


def _suppressed(options: _Tokens, about: About) -> Function:
    tokens = _ids(options)
    _known(tokens, "suppress_tokens", about)
    if len(set(tokens)) >= about.vocabulary:
        raise SettingsError("The processor suppress_tokens leaves no token; name fewer.")
    return SuppressTokensLogitsProcessor(tokens, device=about.device)


def _known(tokens: list[int], name: str, about: About) -> None:
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise SettingsError(f"The processor {name} names {len(tokens)} tokens; name 1 to {MOST_TOKENS:,}.")
    unknown = [token for token in tokens if not 0 <= token < about.vocabulary]
    if unknown:
        raise SettingsError(
            f"The processor {name} names token {unknown[0]} and the target knows 0 to {about.vocabulary - 1}."
        )


def _ends(name: str, about: About) -> list[int]:
    if not about.end_tokens:
        raise SettingsError(f"The processor {name} is about end tokens, and these models have none; leave it out.")
    return sorted(about.end_tokens)


# In the order in which transformers' generate applies them; classes of the user's come after these and before min-p.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "logit_bias",
            "adds to the logits of tokens, or of sequences",
            _Bias,
            _biases,
            lambda o: "+" in o.bias,
            check=_pairs,
        ),
        Kind(
            "repetition_penalty",
            "divides positive logits of tokens of the text, prompt included, and multiplies negative ones",
            _Penalty,
            lambda o, _: RepetitionPenaltyLogitsProcessor(o.penalty),
            lambda o: o.penalty != 1,
        ),
        Kind(
            "no_repeat_ngram",
            "bans tokens that would repeat an n-gram of the text",
            _Size,
            lambda o, _: NoRepeatNGramLogitsProcessor(o.size),
            lambda _: True,
        ),
        Kind(
            "min_new_tokens",
            "bans end tokens before so many new tokens",
            _Count,
            lambda o, about: MinNewTokensLengthLogitsProcessor(
                about.prompt, o.count, _ends("min_new_tokens", about), device=about.device
            ),
            lambda o: o.count > 0,
        ),
        Kind("suppress_tokens", "bans tokens", _Tokens, _suppressed, _never, check=_ids),
        Kind(
            "ignore_eos",
            "bans end tokens, as llama.cpp's --ignore-eos",
            Options,
            lambda _, about: SuppressTokensLogitsProcessor(_ends("ignore_eos", about), device=about.device),
            _never,
        ),
        Kind(
            "presence_penalty",
            "takes the penalty from the logits of tokens of the output",
            _Strength,
            lambda o, about: OutputPenalty(about.prompt, presence=o.penalty),
            lambda o: o.penalty != 0,
        ),
        Kind(
            "frequency_penalty",
            "takes the penalty for each time that a token stands in the output",
            _Strength,
            lambda o, about: OutputPenalty(about.prompt, frequency=o.penalty),
            lambda o: o.penalty != 0,
        ),
        Kind(
            "min_p",
            "drops tokens less likely than this share of the most likely one; after temperature, top-k and top-p",
            _MinP,
            lambda o, _: MinPLogitsWarper(o.min_p),
            _never,
            late=True,
        ),
    )
}
_ORDER = [name for name in KINDS if name not in ("presence_penalty", "frequency_penalty")]
_LOADED: dict[str, type] = {}
"""Classes of the user's by ``module:Class``."""


def load_processor(spec: str) -> None:
    """Import ``my.module:MyProcessor``, so that settings can name it.

    The module is looked up as Python does, the current folder first.

    Raises:
        SettingsError: if it cannot be imported, or is no LogitsProcessor of transformers.
    """
    module, _, name = spec.partition(":")
    if module in KINDS:
        raise SettingsError(f"The processor {module} has no value for its option {name}; write {module}:{name}=VALUE.")
    found = import_named(spec, "processor")
    if not (isinstance(found, type) and issubclass(found, LogitsProcessor)):
        raise SettingsError(f"{shown(spec)} is no class derived from transformers' LogitsProcessor.")
    _LOADED[spec] = found


def load_named(processors: Processors | None) -> None:
    """Import the classes that these name, which the user of this process typed himself.

    Raises:
        SettingsError: as :func:`load_processor`.
    """
    for choice in processors.chosen if processors else ():
        if ":" in choice.name:
            load_processor(choice.name)


def check_processors(processors: Processors | None) -> list[tuple[Choice, Kind | None, Options | None]]:
    """What each name stands for, with its validated options; of a class of the user's neither.

    Raises:
        SettingsError: for an unknown name, one that is given twice, a class that was not loaded, an unfit option.
    """
    found: list[tuple[Choice, Kind | None, Options | None]] = []
    for choice in processors.chosen if processors else ():
        if any(other.name == choice.name for other, _, _ in found):
            raise SettingsError(f"The processor {shown(choice.name)} is given twice; leave one out.")
        if choice.name in KINDS:
            kind = KINDS[choice.name]
            options = parse_options(kind.options, "processor", choice)
            kind.check(options)
            found.append((choice, kind, options))
        elif choice.name in _LOADED:
            _check_arguments(choice)
            found.append((choice, None, None))
        elif ":" in choice.name:
            raise SettingsError(
                f"The processor {shown(choice.name)} is code, which only the commands record and check and programs "
                "of your own run; leave it out here."
            )
        else:
            raise SettingsError(f"There is no processor {shown(choice.name)}; there are {', '.join(KINDS)}.")
    return found


def make_processing(processors: Processors | None, about: About) -> Processing | None:
    """The processors of settings in the order in which ``generate`` applies them; None for none.

    Raises:
        SettingsError: as :func:`check_processors`, and for options that these models cannot have.
    """
    if processors is None:
        return None
    early: list[Processor] = []
    own: list[Processor] = []
    late: list[Processor] = []
    for choice, kind, options in check_processors(processors):
        if kind is None:
            own.append(Processor(choice.name, _made(choice), None))
        else:
            one = Processor(kind.name, kind.make(options, about), kind.reads_text(options), kind.late)
            (late if kind.late else early if kind.name in _ORDER else own).append(one)
    early.sort(key=lambda one: _ORDER.index(one.name))
    return Processing((*early, *own, *late), processors.mode, processors.draft)


def named_processors(
    processors: Sequence[LogitsProcessor], about: About, *, padding: int = 0, draft: bool = False
) -> Processors | None:
    """Processors of transformers, as a call of ``generate`` has them, by our names; None where there are others, or in
    another order, or none.

    Args:
        padding: tokens on the left that the text of ``about`` leaves out and ``generate`` does not.
        draft: whether the draft's logits are processed likewise.
    """
    chosen: list[Choice] = []
    for processor in processors:
        choice = _named(processor, about, padding)
        if choice is None:
            return None
        if chosen and chosen[-1].name == choice.name == "min_new_tokens":
            # generate has both for min_new_tokens: whichever is longer.
            choice = max(chosen.pop(), choice, key=lambda one: int(one.options["count"] or 0))
        chosen.append(choice)
    try:
        said = Processors(chosen=tuple(chosen), draft=draft)
        made = make_processing(said, about)
    except (SettingsError, ValidationError):
        return None
    names = [choice.name for choice in said.chosen]
    return said if made is not None and [one.name for one in made.processors] == names else None


def _named(processor: LogitsProcessor, about: About, padding: int) -> Choice | None:
    """One of them by its very class: another one may do more."""
    one: Any = processor
    if type(one) is SequenceBiasLogitsProcessor and not (padding and any(len(ids) > 1 for ids in one.sequence_bias)):
        pairs = [f"{'+'.join(map(str, ids))}:{float(bias)!r}" for ids, bias in one.sequence_bias.items()]
        return Choice(name="logit_bias", options={"bias": " ".join(pairs)})
    if type(one) is RepetitionPenaltyLogitsProcessor:
        ignored = one.prompt_ignore_length
        ignored = ignored.tolist() if isinstance(ignored, torch.Tensor) else [ignored or 0]
        fits = ignored == [padding] or (not padding and ignored == [0])
        return Choice(name="repetition_penalty", options={"penalty": float(one.penalty)}) if fits else None
    if type(one) is NoRepeatNGramLogitsProcessor and not padding:
        return Choice(name="no_repeat_ngram", options={"size": int(one.ngram_size)})
    if type(one) in (MinNewTokensLengthLogitsProcessor, MinLengthLogitsProcessor):
        skipped = getattr(one, "prompt_length_to_skip", about.prompt + padding)
        count = one.min_length - skipped if type(one) is MinLengthLogitsProcessor else one.min_new_tokens
        fits = skipped == about.prompt + padding and {*one.eos_token_id.flatten().tolist()} == about.end_tokens
        return Choice(name="min_new_tokens", options={"count": max(0, int(count))}) if fits else None
    if type(one) is SuppressTokensLogitsProcessor:
        tokens = " ".join(map(str, one.suppress_tokens.tolist()))
        return Choice(name="suppress_tokens", options={"tokens": tokens})
    if type(one) is OutputPenalty and one.prompt == about.prompt + padding and not (one.presence and one.frequency):
        name = "frequency_penalty" if one.frequency else "presence_penalty"
        return Choice(name=name, options={"penalty": float(one.frequency or one.presence)})
    if type(one) is MinPLogitsWarper and one.min_tokens_to_keep == 1:
        return Choice(name="min_p", options={"min_p": float(one.min_p)})
    return None


def _check_arguments(choice: Choice) -> None:
    """Whether a class of the user's can be called with these options, before a model is loaded."""
    try:
        signature = inspect.signature(_LOADED[choice.name])
    except ValueError:  # some classes do not tell
        return
    try:
        signature.bind(**choice.options)
    except TypeError as error:
        options = ", ".join(signature.parameters) or "none"
        raise SettingsError(
            f"The processor {shown(choice.name)} cannot be made: {error}; its options are: {options}."
        ) from None


def _made(choice: Choice) -> Function:
    options: dict[str, Option] = dict(choice.options)
    try:
        found: Function = _LOADED[choice.name](**options)
    except Exception as error:  # a class of the user's
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise SettingsError(
            f"The processor {shown(choice.name)} cannot be made with {shown(options)}: {what}."
        ) from error
    return found
