"""Faults that users of speculative decoding hunt, planted: each a context in which the engine has exactly one.

The tests assert that every one is caught, and the screenshots of the documents show where a person sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import torch

from specviz.engine.draft_runners import ModelDraftRunner
from specviz.models.kv_cache import Compaction, SlotCache
from specviz.options import Options
from specviz.tree import TokenTree
from specviz.verifiers import VERIFIERS, End, Judgement, Verifier


@contextmanager
def no_compaction() -> Iterator[None]:
    """The cache is cut to the right length, but the kept slots are not gathered first."""

    def only_the_length(self: SlotCache, offsets: Sequence[int]) -> Compaction:
        self._commit_up_to(self.num_committed + len(offsets))
        return Compaction((), ())

    with patch.object(SlotCache, "compact", only_the_length):
        yield


@contextmanager
def positions_off_by_one() -> Iterator[None]:
    """Every node of a tree is run one position too far to the right."""
    allocate = SlotCache.allocate

    def shifted(self: SlotCache, parents: Sequence[int]) -> tuple[list[int], list[tuple[int, ...]]]:
        positions, lines = allocate(self, parents)
        return [position + 1 for position in positions], lines

    with patch.object(SlotCache, "allocate", shifted):
        yield


@contextmanager
def sibling_leak() -> Iterator[None]:
    """Every row sees all earlier rows of its step, as in plain causal attention."""
    allocate = SlotCache.allocate

    def leaking(self: SlotCache, parents: Sequence[int]) -> tuple[list[int], list[tuple[int, ...]]]:
        positions, lines = allocate(self, parents)
        return positions, [tuple(range(line[-1] + 1)) for line in lines]

    with patch.object(SlotCache, "allocate", leaking):
        yield


@contextmanager
def draft_a_token_short() -> Iterator[None]:
    """After a full accept the draft is not fed the token it never ran."""
    start_step = ModelDraftRunner.start_step

    def forgetful(self: ModelDraftRunner, tokens: Sequence[int]) -> None:
        start_step(self, tokens)
        self._catch_up_tokens = []

    with patch.object(ModelDraftRunner, "start_step", forgetful):
        yield


def stale_residual_verifier(name: str = "rejection") -> Verifier:
    """Rejection sampling that draws its bonus from the residual before the last rejected sibling."""
    exact = VERIFIERS["rejection"]

    def judge(tree: TokenTree, target: torch.Tensor, options: Options) -> Judgement:
        judgement = exact.judge(tree, target, options)

        def stale(end: End) -> torch.Tensor:
            return judgement.distribution(replace(end, rejected=end.rejected[:-1]))

        return replace(judgement, distribution=stale)

    return replace(exact, name=name, judge=judge)


@contextmanager
def stale_residual() -> Iterator[None]:
    """Rejection is :func:`stale_residual_verifier`."""
    with patch.dict(VERIFIERS, {"rejection": stale_residual_verifier()}):
        yield
