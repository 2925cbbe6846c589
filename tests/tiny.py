"""Small random models and a small byte-level tokenizer, so that tests need neither a download nor much time.

The models have two layers, a hidden size of 32 and a few kilobytes of weights. Their weights are larger than a fresh
initialization's: with those, every softmax is nearly uniform and attention hardly matters, so a wrong mask would not
show in the logits. Here logits have a standard deviation of about 2 and every head attends unevenly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from specviz.models.hidden_state_head import HiddenStateHead

FAMILIES = ("llama", "qwen2", "qwen3", "gpt2", "gpt_neox")
HIDDEN = 32
HEADS = 4
POSITIONS = 512
END = "<|end|>"
END_ID = 0
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ġ", "a"), ("e", "r"), ("o", "n"), ("a", "n"), ("Ġ", "s")]
SPECIAL = (END, "<|user|>", "<|assistant|>")
VOCABULARY = len(SPECIAL) + 256 + len(MERGES)
"""Ids of the tokenizer: three special tokens, 256 bytes, then the merges."""
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_config(family: str, *, vocab: int = VOCABULARY, layers: int = 2, **config: Any) -> PretrainedConfig:
    """The config of a small model of ``family``, one of :data:`FAMILIES`; ``config`` overrides single fields."""
    common: dict[str, Any] = {"vocab_size": vocab, "bos_token_id": END_ID, "eos_token_id": END_ID, "pad_token_id": None}
    shape = {"hidden_size": HIDDEN, "num_hidden_layers": layers, "num_attention_heads": HEADS}
    shape |= {"intermediate_size": 2 * HIDDEN, "max_position_embeddings": POSITIONS}
    if family == "gpt2":
        gpt2 = {"n_embd": HIDDEN, "n_layer": layers, "n_head": HEADS, "n_positions": POSITIONS}
        return GPT2Config(**(common | gpt2 | config))
    if family == "gpt_neox":
        return GPTNeoXConfig(**(common | shape | config))
    grouped = {"num_key_value_heads": HEADS // 2}
    if family == "qwen3":
        grouped["head_dim"] = HIDDEN // HEADS
    classes = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
    return classes[family](**(common | shape | grouped | config))


def make_model(
    family: str, *, seed: int = 0, vocab: int = VOCABULARY, layers: int = 2, **config: Any
) -> PreTrainedModel:
    """A random model of ``family``: float32, CPU, eval mode, sdpa attention. Equal arguments give equal weights."""
    return randomized(make_config(family, vocab=vocab, layers=layers, **config), seed)


def randomized(config: PretrainedConfig, seed: int = 0) -> PreTrainedModel:
    """A random model of any config: float32, CPU, eval mode, sdpa attention."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            if weight.ndim < 2:
                weight.add_(0.1 * noise)
            elif "embed" in name or "wte" in name or "lm_head" in name:
                weight.copy_(noise * 2 / HIDDEN**0.5)
            else:
                weight.copy_(noise * 1.5 / HIDDEN**0.5)
    return model.eval()


def perturbed(model: PreTrainedModel, *, scale: float = 0.2, seed: int = 1) -> PreTrainedModel:
    """A copy of ``model`` with noise on its matrices: a draft that agrees with its target often, but not always.

    ``scale`` is the noise in units of each matrix' own standard deviation.
    """
    copy = type(model)._from_config(model.config, dtype=torch.float32, attn_implementation="sdpa")
    copy.load_state_dict(model.state_dict())
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copy.parameters():
            noise = torch.randn(weight.shape, generator=random)
            if weight.ndim >= 2:
                weight.add_(scale * weight.std() * noise)
    return copy.eval()


def byte_alphabet() -> list[str]:
    """The character that byte-level BPE writes for each byte, by byte value.

    Written here again and not taken from specviz: the tests compare the two.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


def make_tokenizer(*, chat: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with :data:`VOCABULARY` ids; with ``chat`` it has a chat template."""
    pieces = [*SPECIAL, *byte_alphabet(), *("".join(pair) for pair in MERGES)]
    backend = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=END, eos_token=END)
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    return tokenizer


def head_for(target: PreTrainedModel, draft: PreTrainedModel, *, seed: int = 2) -> HiddenStateHead:
    """A random head with which ``draft`` reads the first and the last hidden states of ``target``."""
    random = torch.Generator().manual_seed(seed)
    d, w = draft.config.hidden_size, 2 * target.config.hidden_size
    head = HiddenStateHead((1, target.config.num_hidden_layers), d, w, 16)
    with torch.no_grad():
        for weight in head.parameters():
            weight.copy_(torch.randn(weight.shape, generator=random) * 0.5 / weight.shape[-1] ** 0.5)
        head.skip.weight[:, -d:] += torch.eye(d)  # the draft's own opinion counts
        head.mean.copy_(torch.randn(w, generator=random))
        head.spread.copy_(torch.rand(w, generator=random) + 0.5)
    return head.eval().requires_grad_(False)


def save_pair(folder: Path, family: str = "llama", *, chat: bool = True, **config: Any) -> tuple[Path, Path]:
    """Save a target and a perturbed draft as model folders with tokenizers; return (target folder, draft folder)."""
    target = make_model(family, seed=0, **config)
    for name, model in (("target", target), ("draft", perturbed(target))):
        model.save_pretrained(folder / name)
        make_tokenizer(chat=chat).save_pretrained(folder / name)
    return folder / "target", folder / "draft"
