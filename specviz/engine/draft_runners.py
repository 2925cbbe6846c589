"""The draft of a run, with its cache and the map from its appended slots to nodes of the tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from specviz.engine.recording import Rows, rows_of
from specviz.engine.runners import Runner
from specviz.models.language_model import LanguageModel
from specviz.sampling import process, take_rows
from specviz.trace.schema import Proposal, Sampling
from specviz.transfers import Reads, upload
from specviz.tree import MAX_NODES, Growth, TokenTree

_TOGETHER = 32
"""Up to so many draft rows are joined and recorded at once; more are recorded level by level, to avoid the copies."""


class DraftRunner(Runner):
    """The draft: one forward a level, over the nodes that are expanded, in its own slot order.

    Nodes that are not expanded are never run, so after a path that ends in one the cache lacks the last committed
    tokens. It catches up in the next step: they are fed together with the root.

    Args:
        vocabulary: the target's V. Tokens of the draft beyond it cannot be verified and are never proposed; tokens that
            the draft lacks have probability 0.
    """

    part = "draft"

    def __init__(self, model: LanguageModel, reads: Reads, vocabulary: int, sampling: Sampling):
        super().__init__(model, reads)
        self.vocabulary, self.sampling = vocabulary, sampling
        self.committed: Sequence[int] = ()
        self._catch_up_tokens: list[int] = []
        self._offset_of: dict[int, int] = {}
        self._logits: list[torch.Tensor] = []
        self._probs: list[torch.Tensor] = []
        self._rows: list[int] = []
        self.on_level: Callable[[int], None] | None = None
        """Called before each forward of a step with its number, from 1."""
        self.features: torch.Tensor | None = None
        """[1, w], what the head reads at the next root, for a draft that reads its target."""
        self.growth: Growth | None = None
        """The tree that is being grown, from the first :meth:`expand` of a step on."""
        self._head_outputs: dict[int, torch.Tensor] = {}
        """Node of the growth -> [hidden], the output of that head there."""

    def prefill(self, context: Sequence[int], states: torch.Tensor | None = None) -> None:
        """Feed a cold cache its whole context.

        Args:
            states: :attr:`TargetRunner.states`, at the end of the context; None if the target's cache was live.
        """
        if self.model.head and (states is not None or not context):
            self.features = self.model.head.text_features(states)[-1:]
        if self._is_cold(context):
            self.model.prefill(self.cache, context)

    def set_features(self, states: torch.Tensor | None, last: int) -> None:
        """Set what the head reads at the next root.

        Args:
            states: [n, w], the target's hidden states at the nodes; None for a draft that does not read them.
            last: the last committed node.
        """
        if self.model.head and states is not None:
            self.features = self.model.head.features(states[last : last + 1])

    def start_step(self, tokens: Sequence[int]) -> None:
        """Start a step on the committed ``tokens``, the root last."""
        self.committed = tokens
        self._catch_up_tokens = list(tokens[self.cache.num_committed : -1])
        self._offset_of, self._logits, self._probs, self._rows = {}, [], [], []
        self.node_of, self.num_catch_up, self._head_outputs, self.growth = {}, 0, {}, None

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        """See :meth:`specviz.drafting.base.Draft.expand`."""
        if self.on_level is not None:
            self.on_level(len(self._logits) + 1)
        if nodes == [0]:
            tokens = [*self._catch_up_tokens, growth.tokens[0]]
            self.num_catch_up = len(self._catch_up_tokens)
            parents = list(range(-1, self.num_catch_up))
            features = self.features
        else:
            tokens = [growth.tokens[node] for node in nodes]
            parents = [self._offset_of[growth.parents[node]] for node in nodes]
            features = None
            if self.model.head:
                outputs = [self._head_outputs[growth.parents[node]] for node in nodes]
                features = self.model.head.predict(torch.stack(outputs))
        first = self.cache.length - self.cache.num_committed + len(tokens) - len(nodes)
        self.growth = growth
        at = [*[None] * (len(tokens) - len(nodes)), *nodes]
        sizes = len(growth.tokens), len(growth.rows), len(self._logits)
        output = self._forward(
            at,
            dict(self._offset_of),
            tokens,
            parents,
            len(nodes),
            on_error=lambda: self._take_back(growth, *sizes),
            features=features,
        )
        if output.states is not None:
            self._head_outputs.update(zip(nodes, output.states, strict=True))
        logits = output.logits[:, : self.vocabulary]
        self._offset_of.update((node, first + row) for row, node in enumerate(nodes))
        probs = process(logits, self.sampling)
        if probs.shape[-1] < self.vocabulary:
            probs = torch.nn.functional.pad(probs, (0, self.vocabulary - probs.shape[-1]))
        self._logits.append(logits)
        self._probs.append(probs)
        return probs

    def _take_back(self, growth: Growth, nodes: int, calls: int, parts: int) -> None:
        """Forget what came of logits that were no numbers; the arguments are the sizes before their forward."""
        growth.take_back(nodes, calls)
        del self._logits[parts:], self._probs[parts:]

    def tabulate(self, shares: Sequence[Mapping[int, float]]) -> torch.Tensor:
        """See :meth:`specviz.drafting.base.Draft.tabulate`. The rows are recorded as the draft's."""
        probs = torch.zeros(len(shares), self.vocabulary, device=self.model.device)
        rows = upload([row for row, known in enumerate(shares) for _ in known], probs.device, torch.long)
        tokens = upload([token for known in shares for token in known], probs.device, torch.long)
        probs[rows, tokens] = upload([share for known in shares for share in known.values()], probs.device, probs.dtype)
        self._logits.append(probs.log())
        self._probs.append(probs)
        return probs

    def map_nodes(self, growth: Growth, final: dict[int, int]) -> None:
        """Map the nodes of the growth to those of the finished tree.

        Args:
            final: node of the growth -> node of the finished tree; nodes that are missing in it were pruned.
        """
        self.node_of = {offset: final[node] for node, offset in self._offset_of.items() if node in final}
        self._rows = [row for node, row in growth.row_of.items() if node in final]
        self.growth = None

    def partial_tree(self, root: int, proposal: Proposal) -> TokenTree:
        """The tree as far as it had grown when the step failed, with nodes numbered in the order in which they grew."""
        growth = self.growth or Growth.from_root(root)
        tree, final = growth.freeze(proposal, list(range(min(len(growth.tokens), MAX_NODES + 1))))
        self.map_nodes(growth, final)
        return tree

    def rows(self, k: int) -> Rows:
        """The distributions to record, one per row of the finished tree. Their tensors are released, so ask once."""
        logits, probs, self._logits, self._probs = self._logits, self._probs, [], []
        if self._rows and sum(map(len, logits)) <= _TOGETHER:
            logits, probs = [torch.cat(logits)], [torch.cat(probs)]
        parts: list[Rows] = []
        first = 0
        for some_logits, some_probs in zip(logits, probs, strict=True):
            kept = [row - first for row in self._rows if first <= row < first + len(some_logits)]
            first += len(some_logits)
            if len(kept) < len(some_logits):
                some_logits, some_probs = take_rows(some_logits, kept), take_rows(some_probs, kept)
            if kept:
                parts.append(rows_of(some_logits, some_probs, self.sampling, k, self.reads))
        return lambda texts: [row for part in parts for row in part(texts)]
