"""Every way in which transformers drafts that runs on small random models, ready to be called and to be attached."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    Gemma4AssistantConfig,
    Gemma4AssistantForCausalLM,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    MellumConfig,
    MellumForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_layers import MtpModel
from transformers.models.muse_glimmer_assistant import MuseGlimmerAssistantConfig, MuseGlimmerAssistantModel

import specviz
from specviz.trace.schema import Trace
from tests import tiny

VOCABULARY = 64
DRAFTED = 4
PROMPT = "the sea is in the sea"
LETTERS = " abcdefghijklmnopqrstuvwxyz.,"


@dataclass(frozen=True)
class Case:
    """A target, what makes its ``generate`` draft, and a prompt."""

    target: PreTrainedModel
    asked: dict[str, Any]
    prompt: torch.Tensor = field(default_factory=lambda: torch.tensor([[5, 17, 33, 2, 8, 41, 5, 17]]))
    draft: PreTrainedModel | None = None
    """One that reads nothing but tokens of the target's vocabulary, so that its rows can be recomputed."""

    def generate(self, seed: int = 0, **asked: Any) -> list[int]:
        """The whole text."""
        torch.manual_seed(seed)
        found: list[int] = self.target.generate(self.prompt, **{**self.asked, **asked})[0].tolist()
        return found


def recorded(case: Case, seed: int = 0, **asked: Any) -> tuple[list[int], Trace]:
    """The same, attached: the text, and its recording."""
    with specviz.attach(case.target) as recorder:
        text = case.generate(seed, **asked)
    return text, recorder.trace()


def _assistant() -> Case:
    target = _ready(tiny.make_model("llama", vocab=VOCABULARY))
    draft = _ready(tiny.perturbed(target, scale=0.15))
    return Case(target, {"assistant_model": draft}, draft=draft)


def _prompt_lookup() -> Case:
    return Case(_ready(tiny.make_model("llama", vocab=VOCABULARY)), {"prompt_lookup_num_tokens": DRAFTED})


def _early_exit() -> Case:
    return Case(_ready(tiny.make_model("llama", vocab=VOCABULARY)), {"assistant_early_exit": 1})


def _other_tokenizer(against: bool = True) -> Case:
    """The draft is the target with other ids, so that they agree where both have a token.

    Args:
        against: whether the draft's tokenizer lists its vocabulary from the last id to the first.
    """
    ours, theirs = characters(LETTERS), characters(LETTERS[::-1] + "!")
    theirs.against = against
    target = _ready(tiny.make_model("llama", vocab=len(ours)))
    draft = _ready(tiny.make_model("llama", vocab=len(theirs)))
    shared = [
        (ours.get_vocab()[token], index) for token, index in theirs.get_vocab().items() if token in ours.get_vocab()
    ]
    of_target, of_draft = (list(ids) for ids in zip(*shared, strict=True))
    with torch.no_grad():
        for name, weight in draft.named_parameters():
            same = target.get_parameter(name)
            if "embed" in name or "lm_head" in name:
                weight[of_draft] = same[of_target]
            else:
                weight.copy_(same)
    asked = {"assistant_model": draft, "tokenizer": ours, "assistant_tokenizer": theirs}
    return Case(target, asked, ours(PROMPT, return_tensors="pt").input_ids)


def _mtp() -> Case:
    """The layer that predicts one token more is read from a checkpoint, as generate() does each time."""
    folder = Path(tempfile.mkdtemp(prefix="specviz-mtp-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    dense = {"mlp_layer_types": ["dense"] * 2, "mtp_mlp_layer_types": ["dense"]}
    target = MellumForCausalLM(
        MellumConfig(**_shape(), head_dim=8, num_mtp_layers=1, mtp_layer_types=["full_attention"], **dense)
    )
    _weights(target)
    more = MtpModel(target, 1)
    _weights(more)
    target.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for name, weight in more.state_dict().items():
        if name.startswith("layers."):
            weights[f"mtp.{name}"] = weight.clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return Case(_ready(MellumForCausalLM.from_pretrained(folder)), {"use_mtp": True})


def _dflash() -> Case:
    target = _ready(tiny.make_model("llama", vocab=VOCABULARY))
    shape = {name: value for name, value in _shape().items() if name != "vocab_size"}
    config = MuseGlimmerAssistantConfig(
        **shape, head_dim=8, sliding_window=512, block_size=DRAFTED, mask_token_id=0, target_layer_ids=[0, 1]
    )
    return Case(target, {"assistant_model": _weights(MuseGlimmerAssistantModel(config)), "speculation_type": "dflash"})


def _gemma_4() -> Case:
    shape = _shape() | {"layer_types": ["sliding_attention", "full_attention"], "head_dim": 8, "global_head_dim": 8}
    shape |= {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0, "num_global_key_value_heads": 2}
    target = _ready(_weights(Gemma4ForCausalLM(Gemma4TextConfig(**shape))))
    config = Gemma4AssistantConfig(
        text_config=Gemma4TextConfig(**shape, num_kv_shared_layers=2), backbone_hidden_size=tiny.HIDDEN
    )
    return Case(target, {"assistant_model": _ready(_weights(Gemma4AssistantForCausalLM(config)))})


def _encoder_decoder(asked: dict[str, Any] | None = None) -> Case:
    """What the encoder reads is filled up on the left, which is nothing of the text's."""
    shape: dict[str, Any] = {f"{part}_layers": 2 for part in ("encoder", "decoder")}
    shape |= {f"{part}_attention_heads": tiny.HEADS for part in ("encoder", "decoder")}
    shape |= {f"{part}_ffn_dim": 2 * tiny.HIDDEN for part in ("encoder", "decoder")}
    shape |= {"d_model": tiny.HIDDEN, "max_position_embeddings": tiny.POSITIONS, "forced_eos_token_id": None}
    shape |= {"eos_token_id": None, "bos_token_id": None, "pad_token_id": 0, "decoder_start_token_id": 2}
    target = _ready(_weights(BartForConditionalGeneration(BartConfig(vocab_size=VOCABULARY, **shape)), seed=5))
    drafts = asked or {"assistant_model": _ready(tiny.perturbed(target, scale=0.15))}
    prompt = torch.tensor([[0, 0, 5, 17, 33, 2, 8, 41, 5, 17]])
    return Case(target, {**drafts, "attention_mask": (prompt > 0).long()}, prompt)


_MAKERS: dict[str, Callable[[], Case]] = {
    "assistant model": _assistant,
    "prompt lookup": _prompt_lookup,
    "early exit": _early_exit,
    "another tokenizer, by text": _other_tokenizer,
    "another tokenizer, by tokens": _other_tokenizer,
    "another tokenizer, by tokens in order": lambda: _other_tokenizer(against=False),
    "multi-token prediction": _mtp,
    "DFlash": _dflash,
    "Gemma 4 assistant": _gemma_4,
    "encoder-decoder, assistant model": _encoder_decoder,
    "encoder-decoder, prompt lookup": lambda: _encoder_decoder({"prompt_lookup_num_tokens": DRAFTED}),
}
MODES = tuple(_MAKERS)
GREEDY, SAMPLED = {"do_sample": False}, {"do_sample": True, "top_k": 0}


def kinds(mode: str) -> tuple[dict[str, Any], ...]:
    """Greedy and sampled, or one of them: of a draft with another tokenizer that decides how it is understood."""
    if "tokenizer" in mode:
        return (GREEDY,) if mode.endswith("text") else (SAMPLED,)
    return GREEDY, SAMPLED


@cache
def case(mode: str) -> Case:
    """One of :data:`MODES`. Models are made once: whoever changes them has to put them back."""
    made = _MAKERS[mode]()
    if "by tokens" in mode:  # its first call cuts the draft's head to the shared tokens, and draws weights for that
        made.generate(max_new_tokens=2, **SAMPLED)
    return made


class Listed(PreTrainedTokenizerFast):
    """Lists its vocabulary in the order of its ids, or against it; others do in an order that changes by process."""

    against = False

    def get_vocab(self) -> dict[str, int]:
        return dict(sorted(super().get_vocab().items(), key=lambda item: item[1], reverse=self.against))


def characters(letters: str) -> Listed:
    """A tokenizer with a token for each of these characters, in this order behind the token for all others."""
    vocabulary = {piece: i for i, piece in enumerate(("<unk>", *letters))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(".|\\n"), "isolated")
    backend.decoder = decoders.Fuse()
    return Listed(tokenizer_object=backend, unk_token="<unk>")


def _shape() -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": tiny.HIDDEN,
        "intermediate_size": 2 * tiny.HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": tiny.HEADS,
        "num_key_value_heads": tiny.HEADS // 2,
        "max_position_embeddings": tiny.POSITIONS,
        "eos_token_id": None,
        "bos_token_id": None,
        "pad_token_id": 0,
    }


def _weights(model: Any, seed: int = 0) -> Any:
    """Larger than those of a fresh model, as in :mod:`tests.tiny`."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:
                weight.copy_(torch.randn(weight.shape, generator=random) * 1.5 / weight.shape[-1] ** 0.5)
    return model.eval()


def _ready(model: Any) -> Any:
    """Texts end at their length; a draft proposes the same number of tokens in each step."""
    config = model.generation_config
    config.eos_token_id, config.pad_token_id = None, 0
    config.num_assistant_tokens, config.num_assistant_tokens_schedule = DRAFTED, "constant"
    config.assistant_confidence_threshold = 0.0
    return model
