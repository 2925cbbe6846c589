"""Small random draft heads: of each kind one that reads a small target of tests/tiny.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding

from specviz.models.head_model import HeadModel
from specviz.models.heads.head import BlockHead, DraftHead, StepHead
from specviz.models.language_model import LanguageModel
from specviz.models.loading import Pair, head_model
from specviz.trace.schema import HeadInfo, Models
from tests import pairs

PLAIN = ("step", "block", "reread")
"""Heads that are of no format: a step head, a block of masked places, and one that also remembers the root's state."""


class _Plain(DraftHead):
    """A Llama layer over the state and the token's embedding, with an output head of its own."""

    def __init__(self, info: HeadInfo, config: LlamaConfig, wide: int, columns: int, token_ids: torch.Tensor | None):
        super().__init__(info, config, token_ids)
        d = config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, d)
        self.fc = nn.Linear(wide, d, bias=False)
        self.join = nn.Linear(2 * d, d, bias=False)
        self.body = nn.ModuleList(LlamaDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(d)
        self.lm_head = nn.Linear(d, columns, bias=False)
        self.rotary = LlamaRotaryEmbedding(config)

    @property
    def inputs(self) -> int:
        return self.embed.num_embeddings

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        return self.fc(states)

    def run(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        x = self.join(torch.cat([carry, self.embed(ids)], -1))[None]
        rotation = self.rotary(x, positions[None])
        for layer in self.body:
            x = layer(x, attention_mask=mask, cache=cache, position_embeddings=rotation)
        return x[0]

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        return self.lm_head(self.norm(own)).float()


class PlainStepHead(_Plain, StepHead):
    """Those layers level by level."""

    def forward(self, *given: Any) -> torch.Tensor:
        return self.run(*given)

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        return own


class PlainBlockHead(_Plain, BlockHead):
    """The same layers over the root and masked places, with a bias by the node's token and a confidence."""

    reads_tokens = True
    mask_id = 1

    def __init__(
        self,
        info: HeadInfo,
        config: LlamaConfig,
        wide: int,
        columns: int,
        token_ids: torch.Tensor | None,
        remembers_root: bool,
    ):
        super().__init__(info, config, wide, columns, token_ids)
        self.depth = self.width = info.depth or 0
        self.causal = self.remembers_root = remembers_root
        self.mask = nn.Parameter(torch.zeros(config.hidden_size))
        self.markov = nn.Embedding(config.vocab_size, columns)
        self.sure = nn.Linear(config.hidden_size, 1)

    def remember(self, *given: Any) -> Any:
        return self.run(*given)

    def block(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        return self.run(torch.cat([carry, self.mask.expand(len(ids) - 1, -1)]), ids, positions, mask, cache)

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        assert tokens is not None
        return super().logits(own) + self.bias(own, tokens)

    def bias(self, own: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.markov(tokens).float()

    def confidence(self, own: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.sure(own)[:, 0].sigmoid()


class LayerlessHead(BlockHead):
    """A head without layers, as Medusa's: each level has a map of its own over the target's last state."""

    def __init__(self, info: HeadInfo, config: LlamaConfig, wide: int, columns: int, token_ids: torch.Tensor | None):
        super().__init__(info, config, token_ids)
        self.depth, self.width = info.depth or 0, 1
        self.maps = nn.ModuleList(nn.Linear(wide, wide) for _ in range(self.depth))
        self.lm_head = nn.Linear(wide, columns, bias=False)

    @property
    def inputs(self) -> int:
        return int(self.config.vocab_size)

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        return states

    def block(self, carry: torch.Tensor, *given: Any) -> torch.Tensor:
        return torch.cat([carry + nn.functional.silu(one(carry)) for one in self.maps])

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        return self.lm_head(own).float()


def tiny_head(
    format: str, target: LanguageModel, *, seed: int = 0, subset: int | None = None, depth: int = 3
) -> DraftHead:
    """A random head that reads ``target``, bound to it.

    Args:
        format: ``step``, ``block``, ``reread`` or ``layerless``.
        subset: how many tokens it can propose, spread over the vocabulary; None for all.
        depth: of a block.
    """
    V, H, n = target.vocabulary, target.model.config.hidden_size, target.layers
    token_ids = None if subset is None else torch.arange(V)[:: max(1, V // subset)][:subset]
    columns = V if subset is None else subset
    reads = (n,) if format == "layerless" else (0, 1, n)
    layers = {"layerless": 0}.get(format, 2)
    config = LlamaConfig(
        hidden_size=H,
        intermediate_size=2 * H,
        num_hidden_layers=layers,
        num_attention_heads=2,
        vocab_size=V,
        attn_implementation="sdpa",
    )
    info = HeadInfo(
        format="medusa" if format == "layerless" else "eagle3" if format == "step" else "dflash",
        kind="step" if format == "step" else "block",
        reads=reads,
        before_norm=format != "layerless",
        layers=layers,
        depth=None if format == "step" else depth,
        vocabulary=subset,
    )
    shape = (info, config, len(reads) * H, columns, token_ids)
    head: DraftHead
    if format == "step":
        head = PlainStepHead(*shape)
    elif format == "layerless":
        head = LayerlessHead(*shape)
    else:
        head = PlainBlockHead(*shape, format == "reread")
    randomize(head, seed)
    head.bind(target.model)
    return head.eval().requires_grad_(False)


def randomize(head: nn.Module, seed: int) -> None:
    """Weights as those of tests/tiny.py: uneven attention, logits of a standard deviation of about 2."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in head.parameters():
            noise = torch.randn(weight.shape, generator=random)
            if weight.ndim < 2:
                weight.add_(0.1 * noise)
            else:
                weight.copy_(noise * 1.5 / weight.shape[-1] ** 0.5)


def with_head(pair: Pair, head: DraftHead, name: str = "tiny-head") -> Pair:
    """The pair with this head, which is bound to its target, as the draft."""
    draft: HeadModel = head_model(head, name, pair.target)
    return Pair(
        target=pair.target,
        draft=draft,
        tokenizer=pair.tokenizer,
        token_text=pair.token_text,
        eos_ids=pair.eos_ids,
        models=Models(target=pair.target.info, draft=draft.info),
    )


def pair_with(format: str, *, seed: int = 0, **head: Any) -> Pair:
    """A small target with a random head of this format."""
    pair = pairs.make_pair()
    return with_head(pair, tiny_head(format, pair.target, seed=seed, **head))
