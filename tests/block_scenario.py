"""What a block head is put through, here and in an independent implementation: two blocks, a verdict between them.

First the text before a root is remembered and a block is drafted; then, as after a verdict, what the block wrote is
dropped, the accepted tokens are remembered with the target's states, and a second block is drafted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from specviz.models.cached_model import causal_mask
from specviz.models.heads import dflash, dspark, medusa, p_eagle
from specviz.models.heads.head import BlockHead, HeadFormat
from specviz.models.kv_cache import SlotCache
from tests import block_heads, tiny
from tests.head_files import Files

ROOTS = (5, 8)
"""Where in the text the two blocks begin."""
TEXT = 14
"""Tokens of the text: those after a root are what a block's rows are asked about."""
REFERENCES = Path(__file__).parent / "models" / "heads" / "reference" / "block_heads.json"
FORMATS: dict[str, HeadFormat] = {
    "medusa": medusa.FORMAT,
    "p_eagle": p_eagle.FORMAT,
    "dflash": dflash.FORMAT,
    "dspark": dspark.FORMAT,
}


@dataclass(frozen=True)
class Case:
    """A head, and which implementation it is compared with."""

    format: str
    implementation: str
    files: Callable[[Any], Files]


def _dflash(**more: Any) -> Callable[[Any], Files]:
    return lambda config: block_heads.dflash(config, seed=3, reads=(1, 3, 5), **more)


CASES = {
    "medusa": Case("medusa", "Medusa", lambda config: block_heads.medusa(config, seed=3)),
    "medusa, the target's output head": Case(
        "medusa", "Medusa legacy", lambda config: block_heads.medusa(config, seed=3, own_output=False)
    ),
    "p_eagle": Case("p_eagle", "speculators", lambda config: block_heads.p_eagle(config, seed=3, reads=(1, 3, 5))),
    "p_eagle, a part of the vocabulary": Case(
        "p_eagle",
        "speculators",
        lambda config: block_heads.p_eagle(config, seed=3, reads=(1, 3, 5), columns=9, norm_before_residual=True),
    ),
    "dflash of z-lab": Case("dflash", "z-lab", _dflash()),
    "dflash of DeepSpec": Case("dflash", "DeepSpec", _dflash(layout="deepspec")),
    "dflash of speculators": Case("dflash", "speculators", _dflash(layout="speculators")),
    "dflash of speculators, a part of the vocabulary": Case(
        "dflash", "speculators", _dflash(layout="speculators", columns=9)
    ),
    "dspark of DeepSpec": Case("dspark", "DeepSpec", _dflash(layout="deepspec", markov="vanilla", confidence=True)),
    "dspark of DeepSpec, gated": Case(
        "dspark", "DeepSpec", _dflash(layout="deepspec", markov="gated", confidence=False)
    ),
    "dspark of speculators": Case(
        "dspark", "speculators", _dflash(layout="speculators", columns=9, markov="vanilla", confidence=True)
    ),
    "dspark of speculators, gated": Case("dspark", "speculators", _dflash(layout="speculators", markov="gated")),
}


@cache
def target() -> Any:
    return tiny.make_model("llama", vocab=24, layers=6, seed=1)


@cache
def text() -> torch.Tensor:
    """Token ids [TEXT]."""
    return torch.randint(24, (TEXT,), generator=torch.Generator().manual_seed(4))


@cache
def hidden_states() -> tuple[torch.Tensor, ...]:
    """The target's, of the whole text, as transformers gives them."""
    with torch.no_grad():
        states: tuple[torch.Tensor, ...] = target()(text()[None], output_hidden_states=True).hidden_states
    return states


def ours(name: str) -> BlockHead:
    """The head of a case, as specviz reads its files."""
    case = CASES[name]
    config, tensors = case.files(target().config)
    head = FORMATS[case.format].build(config, tensors, target().config, {})
    assert isinstance(head, BlockHead)
    head.bind(target())
    return head


def select_layers(states: Sequence[torch.Tensor], layers: Sequence[int]) -> torch.Tensor:
    """[n, layers x hidden]: these of hidden states [1, n, hidden], side by side."""
    return torch.cat([states[layer][0] for layer in layers], dim=-1)


@torch.no_grad()
def play(head: BlockHead, roots: tuple[int, ...] = ROOTS) -> dict[str, list[torch.Tensor]]:
    """Of each block the logits [depth, Vd] and the confidence [depth] of its rows, asked about the text itself."""
    states = torch.cat([hidden_states()[layer][0] for layer in head.info.reads], dim=-1)
    cache = SlotCache(max(head.layers, 1), 64)
    found: dict[str, list[torch.Tensor]] = {"logits": [], "confidence": []}
    for root in roots:
        carry = head.fuse(states[:root])
        first, last = cache.num_committed, root if head.remembers_root else root - 1
        if head.layers and first < last:
            mask = causal_mask(last - first, first, torch.float32)
            positions = torch.arange(first, last) + head.position_offset
            head.remember(carry[first:last], text()[first + 1 : last + 1], positions, mask, cache)
            cache.commit()
        mask = torch.zeros(1, 1, head.width, last + head.width)
        if head.causal:
            mask[..., last:] = causal_mask(head.width, 0, torch.float32)
        ids = torch.tensor([int(text()[root]), *[head.mask_id] * (head.width - 1)])
        positions = torch.arange(last, last + head.width) + head.position_offset
        own = head.block(carry[-1:], ids, positions, mask, cache)
        cache.roll_back()
        tokens = text()[root : root + head.depth]
        rows = [head.level_logits(own, depth, tokens[depth : depth + 1]) for depth in range(head.depth)]
        found["logits"].append(torch.cat(rows))
        if (confidence := head.confidence(own, tokens)) is not None:
            found["confidence"].append(confidence)
    return found
