"""What a training of a draft consists of, for all kinds of it: the plan, the examples, and what a student can do.

A *student* is the part of the draft model that is trained: its layers (:mod:`specviz.train.layers`), the head with
which it reads the target's hidden states (:mod:`specviz.train.head`), or a head of EAGLE-3's kind, which is all of the
draft (:mod:`specviz.train.eagle3`). The loop over batches, in :mod:`specviz.train.train`, is the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from specviz.train.chats import Chat
from specviz.train.choices import OWN


@dataclass(frozen=True)
class TrainingPlan:
    """Hyperparameters of a training. A stopped training is continued only under the plan that it was started with.

    Attributes:
        layers: of the draft; more than it starts with are put between its first and last.
        batches: optimizer steps in all.
        chats: in a batch.
        rate: highest learning rate, reached after ``warmup`` batches and followed by a cosine to a twentieth of it.
        distance_from: part of the batches after which the total variation distance joins the loss.
        reads: the target's layers that the draft's head reads, in which case that head is trained and the layers stay;
            empty to train the layers.
        width: of the head's perceptron.
        format: one of :mod:`specviz.train.choices`. What follows is of EAGLE-3 heads alone.
        vocabulary: how many tokens the head can draft: those that the target finds likeliest over the chats.
        steps: how many tokens on the head is trained to draft, reading its own output from the second on.
        own_embeddings: whether the target's embeddings are written with the head.
        start: folder of a head to start from; empty to start from the target.
    """

    layers: int = 2
    batches: int = 1900
    chats: int = 8
    rate: float = 4e-4
    warmup: int = 100
    distance_from: float = 0.3
    seed: int = 0
    reads: tuple[int, ...] = ()
    width: int = 768
    format: str = OWN
    vocabulary: int = 0
    steps: int = 0
    own_embeddings: bool = False
    start: str = ""

    def rate_at(self, batch: int) -> float:
        """Learning rate of batch number ``batch``."""
        if batch < self.warmup:
            return self.rate * (batch + 1) / self.warmup
        part = (batch - self.warmup) / max(1, self.batches - self.warmup)
        return self.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, part))))


HEAD_PLAN = TrainingPlan(batches=800, rate=1.5e-4, warmup=30, distance_from=0.0)
"""For a head, which starts as a good least-squares fit: higher learning rates destroy it."""

EAGLE3_PLAN = TrainingPlan(layers=1, batches=800, warmup=30, format="eagle3", vocabulary=8192, steps=3)


@dataclass(frozen=True)
class Example:
    """A chat, and the target's hidden states [tokens of the chat, w] for a head that reads them."""

    chat: Chat
    states: np.ndarray | None = None


class Student(Protocol):
    """The part of a draft model that is trained, and how it takes part in the loop over batches."""

    parameters: dict[str, torch.nn.Parameter]
    fixed: dict[str, torch.Tensor]
    """Tensors that ``begin`` computed and that are not trained; saved, because a continued training needs them."""

    def read(self, folder: Path) -> list[Example]:
        """The chats in the folder, with all that this student needs of them."""
        ...

    def begin(self, examples: Sequence[Example]) -> None:
        """Called once before the first batch, and not when a training is continued."""
        ...

    def prepare(self, examples: Sequence[Example]) -> None:
        """Called before the first batch, and again when a training is continued."""
        ...

    def backward(self, examples: Sequence[Example], generator: torch.Generator, batch: int) -> tuple[float, float]:
        """Add the gradients of the loss of batch number ``batch`` to those of the parameters.

        Returns:
            The loss, and the mean overlap with the target on its likely tokens.
        """
        ...

    def write(self, folder: Path) -> Path:
        """Write the draft as its format has it."""
        ...


def mixed_loss(cross_entropy: torch.Tensor, overlap: torch.Tensor, plan: TrainingPlan, batch: int) -> torch.Tensor:
    """The loss at a batch: the cross-entropy, and from ``plan.distance_from`` on mostly the distance 1 - overlap."""
    if batch < plan.distance_from * plan.batches:
        return cross_entropy
    return 0.2 * cross_entropy + 2.0 * (1 - overlap)


def side_by_side(chats: Sequence[Chat]) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Token ids [chats, width], padded on the right, where causal attention never looks; and (rows, columns) of all
    places at which a reply token is predicted, chat after chat."""
    width = max(len(chat.prompt) + len(chat.reply) for chat in chats) - 1
    ids = torch.zeros(len(chats), width, dtype=torch.long)
    rows, columns = [], []
    for row, chat in enumerate(chats):
        tokens = np.concatenate([chat.prompt, chat.reply])[:-1]
        ids[row, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
        columns.append(torch.arange(len(chat.prompt) - 1, len(tokens)))
        rows.append(torch.full_like(columns[-1], row))
    return ids, (torch.cat(rows), torch.cat(columns))
