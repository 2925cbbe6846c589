"""What the stand-ins decode with: logits that depend on the last tokens of a text, and on nothing else."""

from __future__ import annotations

import functools

import torch

VOCABULARY = 24
ROWS = 72
"""How many different rows there are."""
PROMPT = [5, 17, 3]


@functools.cache
def _table(name: str) -> torch.Tensor:
    target = torch.randn((ROWS, VOCABULARY), generator=torch.Generator().manual_seed(1)) * 2
    if name == "target":
        return target
    return target + torch.randn(target.shape, generator=torch.Generator().manual_seed(2))


def row(name: str, text: list[int]) -> torch.Tensor:
    """[V], logits of the token after a text, of the ``target`` or of the ``draft``."""
    return _table(name)[sum(text[-3:]) % ROWS]


def rows(name: str, text: list[int], tokens: list[int], parents: list[int]) -> torch.Tensor:
    """[n, V], logits after every node of a tree; ``text`` is what is before its root."""
    paths: list[list[int]] = []
    for token, parent in zip(tokens, parents, strict=True):
        paths.append([*(paths[parent] if parent >= 0 else text), token])
    return torch.stack([row(name, path) for path in paths])
