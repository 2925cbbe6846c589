"""Load a target and a draft, after everything that can be judged without their weights was judged.

The order matters to whoever waits: names, configs and tokenizers first, gigabytes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from specviz.errors import ModelError, OutOfMemoryError, SettingsError, SpecvizError
from specviz.models.fitness import check_config, check_tokenizers
from specviz.models.language_model import LanguageModel
from specviz.models.model_cache import Progress, silent
from specviz.models.sources import DEFAULT, Source, find_source, load_error
from specviz.models.tokens import TokenTexts
from specviz.trace import ModelInfo, Models

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Pair:
    """A target, a draft, and the tokenizer they share."""

    target: LanguageModel
    draft: LanguageModel
    tokenizer: Any
    token_text: TokenTexts
    eos_ids: frozenset[int]
    """Ids that end a text."""
    models: Models
    """What was loaded, as a trace records it."""

    def encode(self, prompt: str, chat: bool) -> list[int]:
        """Token ids of a prompt, at least one.

        Args:
            prompt: the text.
            chat: wrap it as a user's message in the tokenizer's chat template. Otherwise the tokenizer adds what it
                adds by default.

        Raises:
            SettingsError: without a chat template, for an empty prompt where no token starts a text, or for a token
                that the target has no embedding for.
        """
        # Half a surrogate pair can come out of a browser, and the tokenizer would raise over it.
        prompt = prompt.encode("utf-8", "replace").decode()
        ids = self._encode_chat(prompt) if chat else list(self.tokenizer(prompt)["input_ids"])
        if not ids:
            if self.tokenizer.bos_token_id is None:
                raise SettingsError("The prompt is empty and this tokenizer has no token to start with; write one.")
            ids = [self.tokenizer.bos_token_id]
        if max(ids) >= self.target.info.vocabulary:
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
    progress: Progress | None = None,
) -> Pair:
    """Load two models for speculative decoding.

    Args:
        target: ``default``, a model folder, or a hub id with or without ``@revision``.
        draft: the same. Equal names share one set of weights.
        device: one of :data:`DEVICES`; ``auto`` takes CUDA, then MPS, then the CPU.
        dtype: a key of :data:`DTYPES` or ``auto``, see :func:`choose_dtype`.
        progress: told what is being done.

    Raises:
        SettingsError: for an unknown device or dtype.
        ModelError: if a model cannot be found or read, or trees cannot be verified with it.
        OutOfMemoryError: if the weights do not fit.
    """
    progress = progress or silent
    where = choose_device(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise SettingsError(f"There is no dtype {dtype!r}; choose auto, {', '.join(DTYPES)}.")
    ours, theirs = find_source(target, "target", progress), find_source(draft, "draft", progress)
    our_config, their_config = read_config(ours), read_config(theirs)
    check_config(our_config, ours.name)
    check_config(their_config, theirs.name)
    tokenizer = read_tokenizer(ours)
    check_tokenizers(tokenizer, read_tokenizer(theirs), ours.name, theirs.name)
    token_text = TokenTexts(tokenizer)

    progress(f"Loading {ours.name}", None)
    our_model = read_model(ours, our_config, where, dtype)
    progress(f"Loading {theirs.name}", None)
    same = (ours.place, ours.revision) == (theirs.place, theirs.revision)
    their_model = our_model if same else read_model(theirs, their_config, where, dtype)
    target_model, draft_model = language_model(our_model, ours), language_model(their_model, theirs)
    return Pair(
        target=target_model,
        draft=draft_model,
        tokenizer=tokenizer,
        token_text=token_text,
        eos_ids=eos_ids(our_model.generation_config, our_model.config, tokenizer),
        models=Models(target=target_model.info, draft=draft_model.info),
    )


def choose_device(device: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``mps``; SettingsError for one that is unknown or not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if device not in available:
        raise SettingsError(f"There is no device {device!r}; choose one of {', '.join(DEVICES)}.")
    if not available[device]:
        raise SettingsError(f"PyTorch finds no {device} device on this machine; choose auto or cpu.")
    return torch.device(device)


def choose_dtype(dtype: str, checkpoint: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype a model is loaded in.

    ``auto`` is float32 on the CPU, where half precision is slow and a debugger should be exact. On CUDA it is the
    checkpoint's own, float32 included: rounding it would show a model its authors did not publish; bfloat16 becomes
    float16 on cards without it. On MPS it is float32, except for float16 checkpoints.
    """
    if dtype != "auto":
        return DTYPES[dtype]
    if device.type == "cuda":
        if checkpoint == torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.float16
        return checkpoint
    if device.type == "mps" and checkpoint == torch.float16:
        return torch.float16
    return torch.float32


def eos_ids(*holders: Any) -> frozenset[int]:
    """All end-of-sequence ids that the holders (generation config, config, tokenizer) name, singly or as lists."""
    found: set[int] = set()
    for holder in holders:
        ids = getattr(holder, "eos_token_id", None)
        if ids is not None:
            found.update(ids if isinstance(ids, Iterable) else [ids])
    return frozenset(int(id) for id in found)


def read_config(source: Source) -> Any:
    """The config alone: a few kilobytes."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.place, **source.arguments())
    except Exception as error:
        raise load_error(error, source.name) from error


def read_tokenizer(source: Source) -> Any:
    """The fast tokenizer."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.place, **source.arguments())
    except Exception as error:
        raise load_error(error, source.name) from error


def read_model(source: Source, config: Any, device: torch.device, dtype: str) -> Any:
    """The model in eval mode on ``device``, from safetensors only.

    Raises:
        ModelError: if files are missing or broken, or weights are missing in them.
        OutOfMemoryError: if the device has too little memory.
    """
    from transformers import AutoModelForCausalLM

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            source.place,
            config=config,
            dtype=choose_dtype(dtype, checkpoint_dtype(config), device),
            attn_implementation="sdpa",
            use_safetensors=True,
            output_loading_info=True,
            **({"device_map": {"": device}} if device.type != "cpu" else {}),
            **source.arguments(),
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            f"{source.name} does not fit into the memory of {device}; choose a smaller model, or dtype bfloat16."
        ) from error
    except Exception as error:
        raise load_error(error, source.name) from error
    if missing := sorted(report["missing_keys"]):
        # transformers only warns, and fills in random numbers.
        raise ModelError(
            f"The files of {source.name} lack {len(missing)} of its weights ({missing[0]}); download or save it again."
        )
    return model.eval()


def checkpoint_dtype(config: Any) -> torch.dtype:
    """The dtype the config says the weights are saved in; float32 where it says nothing."""
    saved = getattr(config, "dtype", None)
    if isinstance(saved, str):
        saved = getattr(torch, saved.removeprefix("torch."), None)
    return saved if isinstance(saved, torch.dtype) else torch.float32


def language_model(model: Any, source: Source) -> LanguageModel:
    """Wrap a loaded model together with what is known about it.

    Raises:
        ModelError: if the model ignores the mask or the positions it is given. Only running it can tell; for the
            built-in pair the tests do.
    """
    config = model.config
    info = ModelInfo(
        id=source.name,
        revision=source.revision,
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        layers=config.num_hidden_layers,
        vocabulary=config.vocab_size,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.get_input_embeddings().weight.device),
        quantization=quantization(config),
        note=source.note,
    )
    wrapped = LanguageModel(model, info)
    if not source.built_in:
        try:
            wrapped.check_tree_attention()
        except SpecvizError:
            raise
        except Exception as error:  # of the model's own code, met by a cache or a mask it does not know
            raise load_error(error, source.name) from error
    return wrapped


def quantization(config: Any) -> str | None:
    """The name of the method the weights are quantized with, None for plain weights."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    method = settings.get("quant_method", "unknown")
    return str(getattr(method, "value", method))
