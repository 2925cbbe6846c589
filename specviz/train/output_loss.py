"""The loss of a student whose last hidden state is read by an output head that is not trained.

Most of the work is that output head. So its normalizer is taken over the tokens that the target uses most and a fresh
sample of the others, each standing for many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from specviz.models.loading import Pair
from specviz.train.chats import Chat
from specviz.train.student import Example, TrainingPlan, mixed_loss

FREQUENT = 6144
"""Tokens whose logits are always computed."""
SAMPLED = 1536
"""Tokens drawn among the others at every batch."""


class OutputStudent:
    """A student that gives what the draft's own output head reads."""

    def __init__(self, pair: Pair, plan: TrainingPlan):
        self._pair, self._plan = pair, plan

    def prepare(self, examples: Sequence[Example]) -> None:
        """Finds the tokens that the target uses most."""
        output = self._pair.draft_model.model.get_output_embeddings().weight
        self._output = output.detach().float().cpu()  # these students are on the CPU
        self._frequent = frequent_tokens([example.chat for example in examples], len(output), FREQUENT)

    def hidden(self, examples: Sequence[Example], generator: torch.Generator) -> torch.Tensor:
        """What the output head reads at every place of the replies, chat after chat: [places, d]."""
        raise NotImplementedError

    def backward(self, examples: Sequence[Example], generator: torch.Generator, batch: int) -> tuple[float, float]:
        """See :class:`specviz.train.student.Student`."""
        hidden = self.hidden(examples, generator)
        loss, overlap = self._loss(hidden, [example.chat for example in examples], generator, batch)
        loss.backward()
        return float(loss.detach()), overlap

    def _loss(
        self, hidden: torch.Tensor, chats: Sequence[Chat], generator: torch.Generator, batch: int
    ) -> tuple[torch.Tensor, float]:
        head, frequent = self._output, self._frequent
        others = torch.ones(head.shape[0], dtype=torch.bool)
        others[frequent] = False
        rest = others.nonzero()[:, 0]
        sampled = rest[torch.randperm(len(rest), generator=generator)[:SAMPLED]]
        logits = hidden @ head[frequent].T
        normalizer = logits.logsumexp(-1)
        if len(rest):
            stand_ins = hidden @ head[sampled].T + math.log(len(rest) / len(sampled))
            normalizer = torch.logaddexp(normalizer, stand_ins.logsumexp(-1))
        places = torch.full((head.shape[0],), -1, dtype=torch.long)
        places[frequent] = torch.arange(len(frequent))
        likely = places[torch.from_numpy(np.concatenate([chat.ids for chat in chats]).astype(np.int64))]
        p = torch.from_numpy(np.concatenate([chat.probs for chat in chats]).astype(np.float32)) * (likely >= 0)
        log_q = logits.gather(1, likely.clamp(min=0)) - normalizer[:, None]
        q = log_q.exp() * (likely >= 0)
        p_rest = (1 - p.sum(-1)).clamp(min=0)
        log_q_rest = torch.log((1 - q.sum(-1)).clamp(min=1e-4))
        loss = -((p * log_q).sum(-1) + p_rest * log_q_rest).mean()
        overlap = torch.minimum(p, q).sum(-1).mean()
        return mixed_loss(loss, overlap, self._plan, batch), float(overlap.detach())


def frequent_tokens(chats: Sequence[Chat], vocabulary: int, count: int) -> torch.Tensor:
    """[count] ids of the tokens that the target finds likeliest over all chats, in order of id."""
    mass = np.zeros(vocabulary, dtype=np.float64)
    for chat in chats:
        np.add.at(mass, chat.ids.ravel(), chat.probs.ravel().astype(np.float64))
    return torch.tensor(np.sort(np.argsort(-mass, kind="stable")[:count]).copy())
