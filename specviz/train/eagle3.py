"""Training an EAGLE-3 head (:mod:`specviz.models.heads.eagle3`) for a target, as it will be used.

The head drafts several tokens on, reading its own output in place of the target's states from the second on. So it is
trained on just that: over every chat it runs ``steps`` times, each time one token further on. Row i of step t stands
for a draft of t tokens from the root's pair (state i, token i + 1); it sees the pairs of the text up to i and its own
rows of the steps before, as a drafted chain does in the head's cache (training-time test: EAGLE-3,
arXiv 2503.01840). The tokens are those of the chat.

The loss is that of :mod:`specviz.train.train`, of the target's distribution inside the tokens that the head can draft;
a step counts :data:`DECAY` times as much as the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from specviz.errors import SettingsError
from specviz.models.loading import Pair
from specviz.train.chats import Chat, read_states, write_states
from specviz.train.eagle3_files import new_head, read_start, write_head
from specviz.train.eagle3_start import start_from_target
from specviz.train.output_loss import frequent_tokens
from specviz.train.student import Example, TrainingPlan, mixed_loss

DECAY = 0.8
"""Weight of a step's loss over that of the step before (as in EAGLE-3's own training)."""


class Eagle3Student:
    """A head, which is all of the draft; it is trained on the target's device, in float32."""

    def __init__(self, pair: Pair, plan: TrainingPlan):
        self._pair, self._plan = pair, plan
        target = pair.target.model
        if plan.start:
            head = read_start(Path(plan.start), target.config)
        else:
            with torch.random.fork_rng():
                torch.manual_seed(plan.seed)
                head = new_head(target, plan)
        if max(head.info.reads) >= pair.target.layers:
            raise SettingsError(
                f"The last hidden state of the target ({pair.target.layers}) cannot be read by a head that is trained "
                "here; choose --reads below it."
            )
        self.head = head.float().to(pair.target.device).requires_grad_(True)
        if self.head.embed_tokens is not None:
            self.head.embed_tokens.requires_grad_(False)
        self.head.bind(target)
        self.parameters = {name: one for name, one in self.head.named_parameters() if one.requires_grad}
        ids = self.head.token_ids
        self.fixed = {} if ids is None else {"token_ids": ids}
        self._columns = torch.empty(0)

    def read(self, folder: Path) -> list[Example]:
        """The chats and the target's states: those that the head reads, and the last one, for the start."""
        layers = (*self.head.info.reads, self._pair.target.layers)
        write_states(self._pair, folder, layers)
        return [Example(chat, states) for chat, states in read_states(folder, layers)]

    def begin(self, examples: Sequence[Example]) -> None:
        """Chooses the vocabulary and starts from the target, unless a head to start from was given."""
        if self._plan.start:
            return
        if self.head.token_ids is not None:
            chats = [example.chat for example in examples]
            ids = frequent_tokens(chats, self._pair.target.vocabulary, len(self.head.token_ids))
            self.head.token_ids.copy_(ids)
        start_from_target(self.head, self._pair.target.model, examples)

    def prepare(self, examples: Sequence[Example]) -> None:  # noqa: ARG002
        """Finds the column of every token, -1 for those that the head cannot draft."""
        ids, vocabulary = self.head.token_ids, self._pair.target.vocabulary
        columns = torch.arange(vocabulary)
        if ids is not None:
            columns.fill_(-1)[ids.cpu()] = torch.arange(len(ids))
        self._columns = columns

    def backward(self, examples: Sequence[Example], generator: torch.Generator, batch: int) -> tuple[float, float]:  # noqa: ARG002
        """See :class:`specviz.train.student.Student`. Chat by chat, so that only one takes memory at a time."""
        places = sum(len(example.chat.reply) for example in examples)
        total = first = 0.0
        for example in examples:
            p, columns = self._wanted(example.chat)
            loss = torch.zeros((), device=p.device)
            for step, (own, replies) in enumerate(self.unroll(example)):
                cross_entropy, overlap = _compare(self.head.logits(own), p[replies], columns[replies])
                share = len(own) / places
                loss = loss + DECAY**step * share * mixed_loss(cross_entropy, overlap, self._plan, batch)
                first += share * float(overlap.detach()) if step == 0 else 0.0
            loss.backward()
            total += float(loss.detach())
        return total, first

    def unroll(self, example: Example) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The head's outputs [rows, hidden], step by step, and the places of the reply [rows] that they predict."""
        chat, device = example.chat, self._pair.target.device
        tokens = torch.from_numpy(np.concatenate([chat.prompt, chat.reply]).astype(np.int64)).to(device)
        prompt, pairs, steps = len(chat.prompt), len(tokens) - 2, self._plan.steps
        assert example.states is not None
        known = example.states[:pairs, : self.head.fc.in_features]
        carry = self.head.fuse(torch.from_numpy(known.astype(np.float32)).to(device))
        cache, drafted = _Cache(), list[torch.Tensor]()
        text = rows = torch.arange(pairs, device=device)
        for step in range(steps):
            if not len(rows):
                return  # a reply too short to draft so far
            if step:
                drafted.append(rows)
            seen = torch.cat([text <= rows[:, None], *(earlier == rows[:, None] for earlier in drafted)], dim=-1)
            mask = torch.zeros(seen.shape, device=device).masked_fill(~seen, torch.finfo(torch.float32).min)
            positions = rows + step + self.head.position_offset
            own = self.head(carry, tokens[rows + step + 1], positions, mask[None, None], cache)
            # Row i predicts token i + step + 2; rows of the prompt matter where a later step comes to the reply.
            yield own[rows >= prompt - step - 2], (rows + step + 2 - prompt)[rows >= prompt - step - 2]
            goes_on = (rows >= prompt - steps - 1) & (rows < pairs - step - 1)
            carry, rows = self.head.recycle(own)[goes_on], rows[goes_on]

    def write(self, folder: Path) -> Path:
        """The head as speculators has them."""
        target = self._pair.target
        embeddings = target.model.get_input_embeddings().weight if self._plan.own_embeddings else None
        return write_head(self.head, folder, target.info, target.model.config, embeddings)

    def _wanted(self, chat: Chat) -> tuple[torch.Tensor, torch.Tensor]:
        """[n, TOP] the target's probabilities of tokens that can be drafted, 0 for others; [n, TOP] their columns."""
        columns = self._columns[torch.from_numpy(chat.ids.astype(np.int64))]
        p = torch.from_numpy(chat.probs.astype(np.float32)) * (columns >= 0)
        device = self._pair.target.device
        return p.to(device), columns.clamp(min=0).to(device)


def _compare(logits: torch.Tensor, p: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over places of the cross-entropy inside the head's vocabulary, and of the overlap with the target's own p.

    Args:
        logits: [places, Vd].
        p, columns: [places, TOP], see :meth:`Eagle3Student._wanted`.
    """
    log_q = torch.log_softmax(logits, -1).gather(1, columns)
    inside = p / p.sum(-1, keepdim=True).clamp(min=1e-6)
    cross_entropy = -(inside * log_q).sum(-1).mean()
    return cross_entropy, torch.minimum(p, log_q.exp()).sum(-1).mean()


class _Cache:
    """Keys and values of a text and its drafts as transformers' layers ask for them, with their gradients."""

    def __init__(self) -> None:
        self._kept: dict[int, list[torch.Tensor]] = {}

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and values of a layer, with those that come."""
        new = [keys, values]
        if layer in self._kept:
            new = [torch.cat(both, -2) for both in zip(self._kept[layer], new, strict=True)]
        self._kept[layer] = new
        return new[0], new[1]
