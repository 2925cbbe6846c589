"""Training the head with which a draft reads its target's hidden states (:mod:`specviz.models.hidden_state_head`).

It starts as the least-squares fit of the target's last hidden state, from which the output head that both models share
makes the target's distribution: the linear part is then solved exactly, and gradient descent only has to find the rest.
Where the models do not share that output head, or that state is not read, it starts as a head that changes nothing.
Then it is trained as layers are, on the distributions themselves. In every second chat it reads its own predictions of
the states instead of the target's, as it does below the root of a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from specviz.models.hidden_state_head import HiddenStateHead
from specviz.models.loading import Pair
from specviz.train.chats import read_states, write_states
from specviz.train.draft_files import write_draft
from specviz.train.output_loss import OutputStudent
from specviz.train.student import Example, TrainingPlan, side_by_side

FITTED = 432
"""Chats from which the fit is made."""
RIDGE = 0.01
"""Strength of the ridge penalty, relative to the mean square of the inputs."""
DROPOUT = 0.1


class HeadStudent(OutputStudent):
    """A head over the draft's layers, which stay as they are."""

    def __init__(self, pair: Pair, plan: TrainingPlan):
        super().__init__(pair, plan)
        self._layers = plan.reads
        draft, target = pair.draft_model.model, pair.target.model
        wide = len(plan.reads) * target.config.hidden_size
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(plan.seed)
            self.head = HiddenStateHead(plan.reads, draft.config.hidden_size, wide, plan.width)
            self.head.outer.weight.zero_()
        self.parameters = dict(self.head.named_parameters())
        self.fixed = dict(self.head.named_buffers())

    def read(self, folder: Path) -> list[Example]:
        """The chats and their states, which are computed where they are missing."""
        write_states(self._pair, folder, self._layers)
        return [Example(chat, states) for chat, states in read_states(folder, self._layers)]

    @torch.no_grad()
    def begin(self, examples: Sequence[Example]) -> None:
        """Goes on with the draft's own head if it has one of the same kind, else fits one."""
        own = self._pair.draft_model.head
        if own and own.layers == self._layers and own.inner.weight.shape == self.head.inner.weight.shape:
            self.head.load_state_dict({name: tensor.float().cpu() for name, tensor in own.state_dict().items()})
            return
        some = examples[:: max(1, len(examples) // FITTED)]
        # The hidden state at the first place of a text is unlike all others, so it is left out of the fit.
        rows = torch.from_numpy(np.concatenate([_states(example)[1::5] for example in some])).float()
        self.head.mean.copy_(rows.mean(0))
        self.head.spread.copy_(rows.std(0).clamp(min=1e-6))
        embeddings = self._pair.draft_model.model.get_input_embeddings().weight
        self.head.embedding_spread.copy_(embeddings.float().std())
        final = self._final()
        fit_out = _LeastSquares(self.head.w + 2 * self.head.d, self.head.d)
        fit_predict = _LeastSquares(self.head.d, self.head.w)
        for example in some:
            features, embedded, hidden, _ = self._inputs([example])
            said = hidden[0]
            if final is not None:
                said = torch.from_numpy(_states(example)[:-1, final].astype(np.float32))
                fit_out.add(self.head.inputs(features, embedded, hidden)[0, 1:], said[1:])
            fit_predict.add(said[1:-1], features[0, 2:])
        fit_predict.solve(self.head.guess_map)
        if final is not None:
            fit_out.solve(self.head.skip)
        else:
            self.head.skip.weight.zero_()[:, -self.head.d :].fill_diagonal_(1.0)
            self.head.skip.bias.zero_()

    def _final(self) -> slice | None:
        """Columns of the target's last hidden state; None if that is not read or means nothing to the draft's output
        head, because it is not the target's."""
        ours, theirs = (m.model.get_output_embeddings().weight for m in (self._pair.draft_model, self._pair.target))
        last = self._pair.target.layers
        if last not in self._layers or ours.shape != theirs.shape:
            return None
        some, same = ours[::97].float(), theirs[::97].to(ours.device).float()
        if not torch.allclose(some, same, rtol=0.01, atol=1e-4):  # they may have been rounded to two formats
            return None
        start = self._layers.index(last) * self.head.d
        return slice(start, start + self.head.d)

    def hidden(self, examples: Sequence[Example], generator: torch.Generator) -> torch.Tensor:
        """See :class:`specviz.train.output_loss.OutputStudent`."""
        features, embedded, hidden, places = self._inputs(examples)
        with torch.no_grad():
            own = self.head(features[1::2], embedded[1::2], hidden[1::2])
        predictions = torch.zeros_like(features)
        predictions[1::2, 1:] = self.head.predict(own[:, :-1])
        predicted = torch.zeros(features.shape[:2], dtype=torch.bool)
        predicted[1::2, 1:] = True
        features = torch.where(predicted[..., None], predictions, features)
        x = self.head.inputs(features, embedded, hidden)[places]
        kept = torch.rand(x.shape, generator=generator) >= DROPOUT
        inner = self.head.inner(x * kept / (1 - DROPOUT))
        out: torch.Tensor = self.head.skip(x) + self.head.outer(torch.nn.functional.gelu(inner))
        return out

    def write(self, folder: Path) -> Path:
        """The draft's layers as they were, and the head."""
        return write_draft(self._pair.draft_model.model, folder, self.head)

    @torch.no_grad()
    def _inputs(
        self, examples: Sequence[Example]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Features [chats, width, w], embeddings and hidden states [chats, width, d], and the places of the replies."""
        body = self._pair.draft_model.model.base_model
        ids, places = side_by_side([example.chat for example in examples])
        features = torch.zeros(*ids.shape, self.head.w)
        for row, example in enumerate(examples):
            known = torch.from_numpy(_states(example)[: ids.shape[1] - 1].astype(np.float32))
            features[row, 1 : 1 + len(known)] = self.head.features(known)
        on_device = ids.to(self._pair.draft_model.device)
        hidden = body(input_ids=on_device, use_cache=False).last_hidden_state.float().cpu()
        embedded = self._pair.draft_model.model.get_input_embeddings()(on_device).float().cpu()
        return features, embedded, hidden, places


class _LeastSquares:
    """Ridge regression with a constant, row by row; rows are added as they come."""

    def __init__(self, inputs: int, outputs: int):
        self._gram = torch.zeros(inputs + 1, inputs + 1)
        self._right = torch.zeros(inputs + 1, outputs)

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        x = torch.cat([x, torch.ones(len(x), 1)], -1)
        self._gram += x.T @ x
        self._right += x.T @ y

    def solve(self, layer: torch.nn.Linear) -> None:
        ridge = RIDGE * self._gram.diagonal().mean() * torch.eye(len(self._gram))
        weights = torch.linalg.solve(self._gram + ridge, self._right)
        layer.weight.copy_(weights[:-1].T)
        layer.bias.copy_(weights[-1])


def _states(example: Example) -> np.ndarray:
    assert example.states is not None
    return example.states
