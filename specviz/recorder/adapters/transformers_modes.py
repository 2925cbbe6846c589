"""The ways in which transformers drafts, by the class that proposes: what each promises, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from specviz.models.processors import About, named_processors
from specviz.recorder.about import model_info
from specviz.trace.schema import LONGEST_NAME, ModelInfo, Sampling, cut


@dataclass(frozen=True)
class Mode:
    """One way to draft.

    Attributes:
        name: for people.
        rows: whether the draft's rows come with the candidates, so that sampling decides by coins.
        honest: whether, when sampling, those rows are what the candidates were drawn from. Else the rule is not
            lossless, whatever its name.
        processes: whether the draft's logits go through the processors of the target's.
        note: why it is not honest.
    """

    name: str
    rows: bool = True
    honest: bool = True
    processes: bool = True
    note: str | None = None


MODES = {
    "AssistedCandidateGenerator": Mode("assistant model"),
    "EarlyExitCandidateGenerator": Mode("early exit"),
    "PromptLookupCandidateGenerator": Mode("prompt lookup", rows=False, processes=False),
    "AssistedCandidateGeneratorDifferentTokenizers": Mode(
        "assistant with another tokenizer, by text", rows=False, processes=False
    ),
    "UniversalSpeculativeDecodingGenerator": Mode(
        "assistant with another tokenizer, by shared tokens", processes=False
    ),
    "MTPCandidateGenerator": Mode("multi-token prediction"),
    "DFlashTokenCandidateGenerator": Mode("DFlash"),
    "SinglePositionMultiTokenCandidateGenerator": Mode(
        "Gemma 4 assistant",
        honest=False,
        processes=False,
        note="the most likely tokens are proposed, but judged as if drawn from the raw softmax: #47932",
    ),
}
"""Class of the candidate generator -> what it is, in transformers 5.24."""

WARPERS = {
    "TemperatureLogitsWarper": ("temperature", "temperature"),
    "TopKLogitsWarper": ("top_k", "top_k"),
    "TopPLogitsWarper": ("top_p", "top_p"),
    "EtaLogitsWarper": ("epsilon", "eta_cutoff"),
}
"""Processors that :class:`Sampling` says, in its order: their attribute, and the field."""


LATE = "MinPLogitsWarper"


@dataclass(frozen=True)
class Described:
    """What is known of one call of ``generate`` before its first step.

    Attributes:
        engine: fields of :class:`~specviz.trace.schema.Engine`.
        draft: the draft model, if there is one.
        longest: the length at which the text ends.
    """

    sampled: bool
    engine: dict[str, Any]
    draft: ModelInfo | None
    end_tokens: list[int] = field(default_factory=list)
    longest: int | None = None


def describe(
    model: Any, generator: Any, asked: dict[str, Any], *, padding: int = 0, stop: Sequence[str] = ()
) -> Described:
    """Args:
    asked: the arguments of the model's ``_get_candidate_generator``.
    padding: tokens on the left that are left out of the text.
    stop: texts that end it.
    """
    config = asked["generation_config"]
    processors = [*(asked.get("logits_processor") or ())]
    kind = type(generator).__name__
    mode = MODES.get(kind)
    sampled = bool(config.do_sample)
    weight = getattr(config, "assistant_ensemble_weight", None)
    options: dict[str, Any] = {
        "mode": mode.name if mode else kind,
        "generator": kind,
        "do_sample": sampled,
        "processors": ", ".join(map(_processor, processors)) or "none",
    }
    if weight is not None:
        options["assistant_ensemble_weight"] = float(weight)
    if sampled and mode and mode.note:
        options["note"] = mode.note
    encoded = asked.get("model_kwargs", {}).get("encoder_outputs")
    if encoded is not None:
        options["encoder"] = f"{encoded[0].shape[1]} places, of what is not recorded"
    options |= _translation(generator)
    rule = "greedy"
    if sampled:
        rule = "rejection" if mode is None or mode.rows else "naive"
    lossless = True if not sampled else None if mode is None else mode.honest
    if weight is not None and (mode is None or mode.rows):
        rule, lossless = "ensemble", False
    ends = getattr(config, "_eos_token_tensor", None)
    longest = getattr(config, "max_length", None)
    end_tokens = [] if ends is None else [int(token) for token in ends.flatten().tolist()]
    about = About(
        asked["input_ids"].shape[1] - padding, frozenset(end_tokens), model.config.get_text_config().vocab_size, "cpu"
    )
    warpers, others = _parted(processors)
    named = named_processors(others, about, padding=padding, draft=mode is not None and mode.processes)
    # What cannot be told here is left out: it may have been said to the recorder.
    engine: dict[str, Any] = {"rule": rule, "lossless": lossless, "options": options}
    if warpers is not None and (named is not None or not others):
        engine |= {"target": _sampling(warpers)} if sampled else {}
        engine |= {"processors": named} if named is not None else {}
    engine |= {"stop": tuple(stop)} if stop else {}
    return Described(
        sampled=sampled,
        engine=engine,
        draft=_draft(model, generator),
        end_tokens=end_tokens,
        longest=longest if isinstance(longest, int) else None,
    )


def _processor(processor: Any) -> str:
    """Its class, with the numbers that it was made with."""
    plain = {
        name: value
        for name, value in vars(processor).items()
        if isinstance(value, (bool, int, float)) and name[0] != "_"
    }
    inside = ", ".join(f"{name}={value:g}" for name, value in plain.items() if name != "min_tokens_to_keep")
    return cut(f"{type(processor).__name__}({inside})", LONGEST_NAME)


def _parted(processors: Sequence[Any]) -> tuple[list[Any] | None, list[Any]]:
    """Those that :class:`Sampling` says, None where they come in another order than it applies them; and the others:
    what comes before them, and what does between top-p and the eta cutoff (min-p)."""
    order = [*WARPERS]
    order.insert(order.index("EtaLogitsWarper"), LATE)
    names = [type(processor).__name__ for processor in processors]
    late = [name for name in names if name in order]
    in_order = late == sorted({*late}, key=order.index) and names[len(names) - len(late) :] == late
    warpers = [one for one, name in zip(processors, names, strict=True) if name in WARPERS]
    others = [one for one, name in zip(processors, names, strict=True) if name not in WARPERS]
    return warpers if in_order else None, others


def _sampling(warpers: Sequence[Any]) -> Sampling:
    fields: dict[str, Any] = {}
    for processor in warpers:
        attribute, said = WARPERS[type(processor).__name__]
        value = getattr(processor, attribute)
        fields[said] = int(value) if said == "top_k" else float(value)
    return Sampling(**fields)


def _translation(generator: Any) -> dict[str, Any]:
    """How a draft with another tokenizer is understood."""
    ours, theirs = (getattr(generator, f"{which}_tokenizer", None) for which in ("target", "assistant"))
    if ours is None or theirs is None:
        return {}
    both = {"target_tokens": len(ours.get_vocab()), "draft_tokens": len(theirs.get_vocab())}
    translator = getattr(generator, "_atm_translator", None)
    if translator is None:
        return {**both, "translation": "text: the draft's tokens are decoded and encoded again"}
    shared = len(translator.target_to_assistant_input_ids)
    return {**both, "shared_tokens": shared, "translation": "tokens: those with one name in both vocabularies"}


def _draft(model: Any, generator: Any) -> ModelInfo | None:
    draft = getattr(generator, "assistant_model", None) or getattr(generator, "mtp_model", None)
    info = model_info(draft)
    if info is None:
        return None
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    if draft is model:
        early = int(generator.assistant_early_exit)
        return info.model_copy(update={"id": cut(f"{info.id}, its first {early} layers"), "layers": early})
    if getattr(generator, "requires_model_outputs", False):
        reads = [layer + 1 for layer in getattr(generator, "target_layer_ids", ())] or [layers]
        return info.model_copy(update={"reads": tuple(reads)})
    return info
