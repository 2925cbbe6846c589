"""Load a target and a draft, after everything that can be checked without their weights was checked.

Names, configs and tokenizers are read first and weights last, so that an unusable pair is refused before gigabytes are
downloaded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from specviz.errors import ModelError, OutOfMemoryError, SettingsError, SpecvizError
from specviz.models.adapters import check_unquantized, merged
from specviz.models.checkpoints import check_saved_quantization, tokenizer_error
from specviz.models.choices import PLANNED_CONTEXT, PLANNED_NODES
from specviz.models.compat import check_config
from specviz.models.config_facts import config_facts
from specviz.models.device_map import device_map, refuse_offloading, room_for_weights
from specviz.models.devices import check_dtype, choose_device, choose_dtype, free_memory
from specviz.models.download_cache import ProgressCallback, silent
from specviz.models.head_model import HeadModel
from specviz.models.head_options import set_by_hand
from specviz.models.heads.find import find_head, in_dtype, is_head, not_a_head
from specviz.models.heads.head import DraftHead
from specviz.models.hidden_state_head import HiddenStateHead, read_head
from specviz.models.language_model import LanguageModel
from specviz.models.memory import MemoryPlan, ToLoad, head_to_load, plan_memory, refuse_if_weights_exceed
from specviz.models.planning import checkpoint_dtype, read_config
from specviz.models.prompt_ends import without_end
from specviz.models.quantization import (
    check_quantization,
    keep_products_exact,
    keep_rows_apart,
    quantization_config,
    quantization_name,
    quantization_note,
)
from specviz.models.sources import DEFAULT, Source, find_source, load_error, without_pickles
from specviz.models.tokens import TokenTexts
from specviz.models.tree_check import check_tree_attention
from specviz.models.vocabularies import check_tokenizers
from specviz.models.weight_sizes import allocated_bytes
from specviz.models.weights import weights_hash
from specviz.trace.schema import LONGEST_NAME, HeadInfo, ModelInfo, Models, Option, PromptEnd, cut

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A target, a draft, and the tokenizer they share."""

    target: LanguageModel
    draft: LanguageModel | HeadModel
    tokenizer: Any
    token_text: TokenTexts
    eos_ids: frozenset[int]
    """Ids that end a text."""
    models: Models
    """What was loaded, as a trace records it."""

    def __post_init__(self) -> None:
        """ModelError if the two are on different devices: a step compares their rows with each other."""
        if self.target.device != self.draft.device:
            raise ModelError(
                f"The target is on {self.target.device} and the draft on {self.draft.device}; load both on one device."
            )

    @property
    def draft_model(self) -> LanguageModel:
        """The draft, for what a head cannot do.

        Raises:
            ModelError: if it is a head.
        """
        if isinstance(self.draft, HeadModel):
            raise ModelError(f"{self.draft.info.id} is a draft head, and this takes a draft model; choose one.")
        return self.draft

    def encode(self, prompt: str, chat: bool, end_token: PromptEnd = "refuse") -> list[int]:
        """Token ids of a prompt, at least one.

        Args:
            prompt: the text.
            chat: wrap it as a user's message in the tokenizer's chat template. Otherwise the tokenizer adds what it
                adds by default.
            end_token: what to do where the prompt ends in an end token, see
                :func:`specviz.models.prompt_ends.without_end`. What a chat template writes stays.

        Raises:
            SettingsError: without a chat template, for an empty prompt where no token starts a text, for an end token
                of which nothing is said, or for a token that the target has no embedding for.
        """
        # Half a surrogate pair can come out of a browser, and the tokenizer would raise over it.
        prompt = prompt.encode("utf-8", "replace").decode()
        if chat:
            ids = self._encode_chat(prompt)
        else:
            ids = without_end(
                self.tokenizer, prompt, list(self.tokenizer(prompt)["input_ids"]), self.eos_ids, end_token
            )
        if not ids:
            if self.tokenizer.bos_token_id is None:
                raise SettingsError("The prompt is empty and this tokenizer has no token to start with; write one.")
            ids = [self.tokenizer.bos_token_id]
        if max(ids) >= self.target.vocabulary:
            raise SettingsError(
                f"The prompt contains {self.token_text(max(ids)).text!r}, for which the target has no embedding; "
                "remove it."
            )
        return ids

    def _encode_chat(self, prompt: str) -> list[int]:
        if not self.tokenizer.chat_template:
            raise SettingsError("This tokenizer has no chat template; switch chat off or choose an instruction model.")
        messages = [{"role": "user", "content": prompt}]
        try:
            text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # templates are programs, and raise whatever they like
            raise SettingsError(f"The chat template failed ({str(error)[:150]}); switch chat off.") from error
        # The template already wrote the special tokens; another <s> in front would be a second one.
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def load_pair(
    target: str = DEFAULT,
    draft: str = DEFAULT,
    *,
    device: str = "auto",
    dtype: str = "auto",
    target_quantization: str = "none",
    draft_quantization: str = "none",
    allow_renamed_tokens: bool = False,
    head_reads: str | Sequence[int] = "",
    head_options: str | Sequence[str] | Mapping[str, Option] = "",
    progress: ProgressCallback | None = None,
    loaded_target: LanguageModel | None = None,
) -> Pair:
    """Load two models for speculative decoding.

    Args:
        target: ``default``, a model folder, or a hub id with or without ``@revision``.
        draft: the same, or a folder or a hub id of a draft head, see docs/models.md. Equal names with equal
            quantizations share one set of weights.
        device: one of :data:`specviz.models.choices.DEVICES`; ``auto`` takes CUDA, then MPS, then the CPU.
        dtype: one of :data:`specviz.models.choices.DTYPES`, see :func:`choose_dtype`.
        target_quantization, draft_quantization: of :data:`specviz.models.choices.QUANTIZATIONS`.
        allow_renamed_tokens: take a draft whose tokenizer names added tokens otherwise than the target's, see
            :func:`~specviz.models.vocabularies.check_tokenizers`.
        head_reads, head_options: of a draft head, in place of what its files say: which of the target's hidden states
            it reads (``"2,14,25"`` or numbers), and options of its format (``"norm_output=false"`` or by name).
        progress: told what is being done.
        loaded_target: of a pair that was loaded before with the same options but for the draft; its weights are not
            loaded again.

    Raises:
        SettingsError: for an unknown device, dtype or quantization.
        ModelError: if a model cannot be found or read, or trees cannot be verified with it.
        OutOfMemoryError: if the weights do not fit; before they are read where the configs tell.
    """
    progress = progress or silent
    by_hand = set_by_hand(head_reads, head_options)
    where = choose_device(device)
    check_dtype(dtype)
    check_quantization(target_quantization, where, target)
    check_quantization(draft_quantization, where, draft)
    ours, theirs = find_source(target, "target", progress), find_source(draft, "draft", progress)
    if is_head(ours):
        raise ModelError(f"{ours.name} is a draft head and no target; choose it as draft.")
    our_config = read_config(ours)
    head = find_head(theirs, our_config, by_hand)
    if head is not None:
        if draft_quantization != "none":
            raise SettingsError(f"{theirs.name} is a draft head, which is not quantized; set its quantization to none.")
        to_load_target = ToLoad(
            ours.name, our_config, choose_dtype(dtype, checkpoint_dtype(our_config), where), target_quantization
        )
        return _load_with_head(ours, to_load_target, theirs, head, where, progress, loaded_target)
    if by_hand:
        raise not_a_head(theirs.name)
    theirs = without_pickles(theirs)
    their_config = read_config(theirs)
    for source, config, quantization in (
        (ours, our_config, target_quantization),
        (theirs, their_config, draft_quantization),
    ):
        check_saved_quantization(config, source.name)
        check_config(config, source.name)
        if source.adapter is not None:
            check_unquantized(config, quantization, source.name)
    tokenizer = read_tokenizer(ours)
    renamed = check_tokenizers(
        tokenizer,
        read_tokenizer(theirs),
        ours.name,
        theirs.name,
        our_config.vocab_size,
        allow_renamed=allow_renamed_tokens,
    )
    token_text = TokenTexts(tokenizer)
    to_load = [
        ToLoad(source.name, config, choose_dtype(dtype, checkpoint_dtype(config), where), quantization)
        for source, config, quantization in (
            (ours, our_config, target_quantization),
            (theirs, their_config, draft_quantization),
        )
    ]
    own_head = read_head(theirs, their_config, our_config)
    same = (ours.place, ours.revision, ours.adapter, target_quantization) == (
        theirs.place,
        theirs.revision,
        theirs.adapter,
        draft_quantization,
    )
    held = 0 if loaded_target is None else allocated_bytes(loaded_target.model)
    plan = _plan(to_load[0], to_load[0] if same else to_load[1], where, held)

    if loaded_target is None:
        progress(f"Loading {ours.name}", None)
        our_model = read_model(ours, to_load[0], where, plan)
    else:
        our_model = loaded_target.model
    progress(f"Loading {theirs.name}", None)
    # A target that is spread over cards may begin on any of them.
    beside = our_model.get_input_embeddings().weight.device
    their_model = our_model if same else read_model(theirs, to_load[1], beside, None)
    target_model = loaded_target or language_model(our_model, ours)
    draft_model = language_model(their_model, theirs, own_head)
    return Pair(
        target=target_model,
        draft=draft_model,
        tokenizer=tokenizer,
        token_text=token_text,
        eos_ids=eos_ids(our_model.generation_config, our_model.config, tokenizer),
        models=Models(target=target_model.info, draft=draft_model.info, renamed_tokens=renamed),
    )


def _load_with_head(
    ours: Source,
    to_load: ToLoad,
    theirs: Source,
    head: DraftHead,
    where: torch.device,
    progress: ProgressCallback,
    loaded_target: LanguageModel | None,
) -> Pair:
    """The pair of a target and a head that reads it. A head has no tokenizer of its own: it reads the target's ids."""
    check_saved_quantization(to_load.config, ours.name)
    check_config(to_load.config, ours.name)
    if ours.adapter is not None:
        check_unquantized(to_load.config, to_load.quantization, ours.name)
    tokenizer = read_tokenizer(ours)
    held = 0 if loaded_target is None else allocated_bytes(loaded_target.model)
    plan = _plan(to_load, head_to_load(theirs.name, head, to_load.dtype), where, held)
    if loaded_target is None:
        progress(f"Loading {ours.name}", None)
        target = language_model(read_model(ours, to_load, where, plan), ours)
    else:
        target = loaded_target
    progress(f"Loading {theirs.name}", None)
    draft = head_model(in_dtype(head, to_load.dtype), theirs.name, target, theirs)
    return Pair(
        target=target,
        draft=draft,
        tokenizer=tokenizer,
        token_text=TokenTexts(tokenizer),
        eos_ids=eos_ids(target.model.generation_config, target.model.config, tokenizer),
        models=Models(target=target.info, draft=draft.info),
    )


def eos_ids(*holders: Any) -> frozenset[int]:
    """All end-of-sequence ids that the holders (generation config, config, tokenizer) name, singly or as lists.

    A negative one, as some configs have it, says that there is none.
    """
    found: set[int] = set()
    for holder in holders:
        ids = getattr(holder, "eos_token_id", None)
        if ids is not None:
            found.update(ids if isinstance(ids, Iterable) else [ids])
    return frozenset(int(id) for id in found if id >= 0)


def read_tokenizer(source: Source) -> Any:
    """The fast tokenizer."""
    from transformers import AutoTokenizer

    place, arguments = source.place, source.arguments()
    if source.adapter is not None and (Path(source.adapter) / "tokenizer_config.json").is_file():
        # Whoever trains an adapter on chats saves the template beside it.
        place, arguments = source.adapter, {"local_files_only": True, "trust_remote_code": False}
    try:
        return AutoTokenizer.from_pretrained(place, **arguments)
    except Exception as error:
        raise (tokenizer_error(source.name, place, error) or load_error(error, source.name)) from error


def read_model(source: Source, model: ToLoad, device: torch.device, plan: MemoryPlan | None) -> Any:
    """The model in eval mode on ``device``, from safetensors only.

    Args:
        plan: of the pair; where it does not fit on one card, this model is spread over all.

    Raises:
        ModelError: if files are missing or broken, or weights are missing in them.
        OutOfMemoryError: if the device has too little memory.
    """
    from transformers import AutoModelForCausalLM

    try:
        loaded, report = AutoModelForCausalLM.from_pretrained(
            source.place,
            config=model.config,
            dtype=model.dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            output_loading_info=True,
            quantization_config=quantization_config(model.quantization, model.dtype),
            **device_map(device, model.quantization, plan),
            **source.arguments(),
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            f"{source.name} does not fit into the memory of {device}; choose a smaller model, dtype bfloat16, or a "
            "quantization."
        ) from error
    except Exception as error:
        raise load_error(error, source.name) from error
    refuse_offloading(loaded, source.name)
    if missing := sorted(report["missing_keys"]):
        # transformers only warns, and fills in random numbers.
        raise ModelError(
            f"The files of {source.name} lack {len(missing)} of its weights ({missing[0]}); download or save it again."
        )
    if source.adapter is not None:
        loaded = merged(loaded, source.adapter, source.name)
    keep_products_exact(loaded)
    keep_rows_apart(loaded)
    return loaded.eval()


def _plan(target: ToLoad, draft: ToLoad, device: torch.device, held: int = 0) -> MemoryPlan | None:
    """The memory plan of a pair that is about to be loaded; None if this architecture cannot be built without weights.

    Args:
        held: bytes of it that are loaded already.

    Raises:
        OutOfMemoryError: if the weights alone exceed what is free.
    """
    try:
        free = free_memory(device)
        free = None if free is None else free + held
        plan = plan_memory(target, draft, context=PLANNED_CONTEXT, nodes=PLANNED_NODES, free=free)
    except Exception as error:  # a plan is advice: what goes wrong in it must not keep a model from being loaded
        log.warning("no memory plan: %s", error)
        return None
    room = room_for_weights(device)
    refuse_if_weights_exceed(plan, None if room is None else room + held, device)
    return plan


def language_model(model: Any, source: Source, head: HiddenStateHead | None = None) -> LanguageModel:
    """Wrap a loaded model together with what is known about it.

    Args:
        head: with which it reads its target, if it does; moved to the model's device.

    Raises:
        ModelError: if a tree is not scored as its paths are, see :mod:`specviz.models.tree_check`. Only running the
            model can tell; for the built-in pair the tests do.
    """
    config = model.config
    info = ModelInfo(
        id=source.name,
        source=source.kind,
        revision=(source.kind == "hub" and getattr(config, "_commit_hash", None)) or source.revision,
        weights=weights_hash(model, head) if head else weights_hash(model),
        config=config_facts(config),
        architecture=cut(type(model).__name__, LONGEST_NAME),
        parameters=model.num_parameters(),
        layers=config.num_hidden_layers,
        vocabulary=config.vocab_size,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.get_input_embeddings().weight.device),
        quantization=quantization_name(config),
        reads=head.layers if head else (),
        head=_own_head(head, config) if head else None,
        note=cut("; ".join(note for note in (source.note, quantization_note(config)) if note)) or None,
    )
    device = model.get_input_embeddings().weight.device
    wrapped = LanguageModel(model, info, head.to(device) if head else None)
    if not source.built_in:
        try:
            check_tree_attention(wrapped)
        except SpecvizError:
            raise
        except Exception as error:  # of the model's own code, met by a cache or a mask it does not know
            raise load_error(error, source.name) from error
    return wrapped


def _own_head(head: HiddenStateHead, config: Any) -> HeadInfo:
    """Of a draft of specviz's own that reads its target."""
    return HeadInfo(
        format="hidden_state", kind="step", reads=head.layers, before_norm=False, layers=config.num_hidden_layers
    )


def head_model(head: DraftHead, name: str, target: LanguageModel, source: Source | None = None) -> HeadModel:
    """A head that drafts for a loaded target, with what is known about it.

    Args:
        head: on any device, bound or not; it is moved to the target's.
        source: where it was found, if it was read from files.
    """
    head.to(target.device)
    head.bind(target.model)
    parameter = next(head.parameters())
    info = ModelInfo(
        id=name,
        source=source.kind if source else None,
        revision=source.revision if source else None,
        weights=weights_hash(head),
        config=config_facts(head.config),
        architecture=cut(type(head).__name__, LONGEST_NAME),
        parameters=sum(one.numel() for one in head.parameters()),
        layers=head.layers,
        vocabulary=target.vocabulary if head.token_ids is None else len(head.token_ids),
        dtype=str(parameter.dtype).removeprefix("torch."),
        device=str(target.device),
        reads=head.info.reads,
        head=head.info,
        note=source.note if source else None,
    )
    return HeadModel(head, info, target.vocabulary)
