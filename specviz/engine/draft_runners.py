"""The draft of a run, with its cache and the map from its appended slots to nodes of the tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch

from specviz.engine.row_recording import Rows, rows_of
from specviz.engine.runners import Runner
from specviz.models.cached_model import CachedModel
from specviz.models.language_model import LanguageModel
from specviz.models.target_states import Reading
from specviz.processing import Processing
from specviz.sampling import process, take_rows
from specviz.trace.schema import Proposal, Sampling
from specviz.transfers import Reads, upload
from specviz.tree import MAX_NODES, Growth, TokenTree

_TOGETHER = 32
"""Up to so many draft rows are joined and recorded at once; more are recorded level by level, to avoid the copies."""

M = TypeVar("M", bound=CachedModel)


@dataclass(frozen=True)
class Level:
    """What the draft said at n nodes, for the recording.

    Attributes:
        logits: [n, Vd], as the model returned them.
        probs: [n, V], processed.
        bias: [n, Vd], what a head added to its logits by the nodes' tokens.
        confidence: [n], of a head that says how likely what it drafts is accepted.
        token_ids: [Vd], the target's id of each column of the logits; None where that is the column itself.
    """

    logits: torch.Tensor
    probs: torch.Tensor
    bias: torch.Tensor | None = None
    confidence: torch.Tensor | None = None
    token_ids: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, rows: Sequence[int]) -> Level:
        """These rows of it."""
        return self._of([None if one is None else take_rows(one, rows) for one in self._parts()])

    def _parts(self) -> tuple[torch.Tensor | None, ...]:
        return self.logits, self.probs, self.bias, self.confidence

    @staticmethod
    def joined(levels: Sequence[Level]) -> Level:
        """All rows of levels of one draft."""
        parts = zip(*(level._parts() for level in levels), strict=True)
        return levels[0]._of([None if some[0] is None else torch.cat(some) for some in parts])

    def _of(self, parts: Sequence[torch.Tensor | None]) -> Level:
        logits, probs, bias, confidence = parts
        assert logits is not None
        assert probs is not None
        return Level(logits, probs, bias, confidence, self.token_ids)


class DraftRunner(Runner[M]):
    """A draft as builders and a session see it.

    Args:
        vocabulary: the target's V. Tokens of the draft beyond it cannot be verified and are never proposed; tokens that
            the draft lacks have probability 0.

    Attributes:
        reading: what the draft reads of the target; None for one that reads tokens alone.
        token_ids: [Vd], the target's id of each column of the draft's logits; None where that is the column itself.
    """

    part = "draft"
    reading: Reading | None = None
    token_ids: torch.Tensor | None = None
    processing: Processing | None = None
    """What processes the draft's logits by the text at each node; None for the sampling parameters alone."""

    def __init__(self, model: M, reads: Reads, vocabulary: int, sampling: Sampling):
        super().__init__(model, reads)
        self.vocabulary, self.sampling = vocabulary, sampling
        self.committed: Sequence[int] = ()
        self._offset_of: dict[int, int] = {}
        self._levels: list[Level] = []
        self._rows: list[int] = []
        self.on_level: Callable[[int], None] | None = None
        """Called before each forward of a step with its number, from 1."""
        self.growth: Growth | None = None
        """The tree that is being grown, from the first :meth:`expand` of a step on."""

    @cached_property
    def outside(self) -> torch.Tensor | None:
        """[V], 1 for the tokens that the draft cannot propose; None where there are none."""
        mask = torch.ones(self.vocabulary, device=self.model.device)
        if self.token_ids is None:
            mask[: self.model.vocabulary] = 0
        else:
            mask[self.token_ids] = 0
        return mask if self.token_ids is not None or self.model.vocabulary < self.vocabulary else None

    @property
    def most_depth(self) -> int | None:
        """How deep the nodes of the next step's tree may lie; None for any depth."""
        return None

    def follow(self, tokens: Sequence[int], states: torch.Tensor) -> None:
        """Take the target's states [n, w] at the next n tokens of the text, while the target is prefilled."""

    def prefill(self, context: Sequence[int]) -> None:
        """Feed a cold cache its whole context, of which :meth:`follow` was told before."""

    def learn(self, states: torch.Tensor | None, nodes: Sequence[int]) -> None:
        """Take the target's states after the commit of a step.

        Args:
            states: [n, w], at all nodes of the tree; None for a draft that does not read them.
            nodes: the committed ones, in text order; the next root follows the last of them.
        """

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        """See :meth:`specviz.drafting.base.Draft.expand`."""
        raise NotImplementedError

    def start_step(self, tokens: Sequence[int]) -> None:
        """Start a step on the committed ``tokens``, the root last."""
        self.committed = tokens
        self._offset_of, self._levels, self._rows = {}, [], []
        self.node_of, self.num_catch_up, self.growth = {}, 0, None

    def _tell_level(self) -> None:
        if self.on_level is not None:
            self.on_level(len(self._levels) + 1)

    def _add_level(
        self,
        nodes: Sequence[int],
        logits: torch.Tensor,
        bias: torch.Tensor | None = None,
        confidence: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Keep logits [n, Vd] at ``nodes`` for the recording; gives the processed rows [n, V]."""
        if self.token_ids is None:
            logits = logits[:, : self.vocabulary]
        if self.processing is not None:
            probs = self._processed(self.processing, nodes, logits)
            self._levels.append(Level(logits, probs, bias, confidence, self.token_ids))
            return probs
        own = process(logits, self.sampling)
        if self.token_ids is not None:
            # A softmax over what can be proposed: nothing is left for the rest of the vocabulary.
            probs = own.new_zeros(len(own), self.vocabulary).index_copy_(-1, self.token_ids, own)
        elif own.shape[-1] < self.vocabulary:
            probs = torch.nn.functional.pad(own, (0, self.vocabulary - own.shape[-1]))
        else:
            probs = own
        self._levels.append(Level(logits, probs, bias, confidence, self.token_ids))
        return probs

    def _processed(self, processing: Processing, nodes: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """The rows [n, V] of logits [n, Vd], each by the text at its node."""
        self.reads.finish()  # a processor is not at fault where the model's rows are no numbers
        whole = logits
        if self.token_ids is not None or logits.shape[-1] < self.vocabulary:
            columns = torch.arange(logits.shape[-1], device=logits.device) if self.token_ids is None else self.token_ids
            whole = logits.new_full((len(logits), self.vocabulary), -torch.inf).index_copy_(-1, columns, logits)
        growth, paths = self.growth, []
        assert growth is not None
        for node in nodes:
            path = []
            while node > 0:
                path.append(growth.tokens[node])
                node = growth.parents[node]
            paths.append(path[::-1])
        # Where nothing is left to propose, any proposal does: the target's rows decide.
        return processing.rows(whole, self.committed, paths, self.sampling, {})

    def _take_back(self, growth: Growth, nodes: int, calls: int, levels: int) -> None:
        """Forget what came of logits that were no numbers; the arguments are the sizes before their forward."""
        growth.take_back(nodes, calls)
        del self._levels[levels:]

    def _sizes(self, growth: Growth) -> tuple[int, int, int]:
        """For :meth:`_take_back`."""
        return len(growth.tokens), len(growth.rows), len(self._levels)

    def tabulate(self, shares: Sequence[Mapping[int, float]]) -> torch.Tensor:
        """See :meth:`specviz.drafting.base.Draft.tabulate`. The rows are recorded as the draft's."""
        probs = torch.zeros(len(shares), self.vocabulary, device=self.model.device)
        rows = upload([row for row, known in enumerate(shares) for _ in known], probs.device, torch.long)
        tokens = upload([token for known in shares for token in known], probs.device, torch.long)
        probs[rows, tokens] = upload([share for known in shares for share in known.values()], probs.device, probs.dtype)
        self._levels.append(Level(probs.log(), probs))
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
        levels, self._levels = self._levels, []
        if self._rows and sum(map(len, levels)) <= _TOGETHER:
            levels = [Level.joined(levels)]
        parts: list[Rows] = []
        first = 0
        for level in levels:
            kept = [row - first for row in self._rows if first <= row < first + len(level)]
            first += len(level)
            if kept:
                some = level if len(kept) == len(level) else level.take(kept)
                parts.append(
                    rows_of(
                        some.logits,
                        some.probs,
                        self.sampling,
                        k,
                        self.reads,
                        is_processed=self.processing is not None,
                        token_ids=some.token_ids,
                        bias=some.bias,
                        confidence=some.confidence,
                    )
                )
        return lambda texts: [row for part in parts for row in part(texts)]


class ModelDraftRunner(DraftRunner[LanguageModel]):
    """A language model: one forward a level, over the nodes that are expanded, in its own slot order.

    Nodes that are not expanded are never run, so after a path that ends in one the cache lacks the last committed
    tokens. It catches up in the next step: they are fed together with the root.
    """

    def __init__(self, model: LanguageModel, reads: Reads, vocabulary: int, sampling: Sampling):
        super().__init__(model, reads, vocabulary, sampling)
        self.reading = Reading(model.head.layers) if model.head else None
        self._catch_up_tokens: list[int] = []
        self.features: torch.Tensor | None = None
        """[1, w], what the head reads at the next root, for a draft that reads its target."""
        self._head_outputs: dict[int, torch.Tensor] = {}
        """Node of the growth -> [hidden], the output of that head there."""

    def follow(self, tokens: Sequence[int], states: torch.Tensor) -> None:  # noqa: ARG002
        self.learn(states, [len(states) - 1])

    def prefill(self, context: Sequence[int]) -> None:
        if self.model.head and not context:
            self.features = self.model.head.text_features(None)
        if self._is_cold(context):
            self.model.prefill(self.cache, context)

    def learn(self, states: torch.Tensor | None, nodes: Sequence[int]) -> None:
        if self.model.head and states is not None:
            last = nodes[-1]
            self.features = self.model.head.features(states[last : last + 1])

    def start_step(self, tokens: Sequence[int]) -> None:
        super().start_step(tokens)
        self._catch_up_tokens = list(tokens[self.cache.num_committed : -1])
        self._head_outputs = {}

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        self._tell_level()
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
        sizes = self._sizes(growth)
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
        self._offset_of.update((node, first + row) for row, node in enumerate(nodes))
        return self._add_level(nodes, output.logits)
