"""Several drafts of one target, loaded one after another: the target stays in memory, one draft at a time beside it."""

from __future__ import annotations

import gc
from dataclasses import replace

from specviz.models.download_cache import ProgressCallback
from specviz.models.loading import Pair
from specviz.models.pair_spec import ModelChoice


class OneTarget:
    """The pair that was asked for last."""

    def __init__(self) -> None:
        self._choice: ModelChoice | None = None
        self._pair: Pair | None = None

    def load(self, choice: ModelChoice, progress: ProgressCallback | None = None) -> Pair:
        """The pair. Of one that differs from the last in its draft alone the target is not loaded again.

        A caller that keeps the last pair keeps its draft in memory.

        Raises:
            As :func:`~specviz.models.loading.load_pair`. The next call loads the target again then.
        """
        if self._pair is None or choice != self._choice:
            target = self._pair.target if self._pair is not None and self._keeps_target(choice) else None
            self._pair = None
            gc.collect()  # the draft makes room for the next one
            self._pair = choice.load(progress, target)
            self._choice = choice
        return self._pair

    def _keeps_target(self, choice: ModelChoice) -> bool:
        last = self._choice
        return last is not None and choice == replace(
            last, draft=choice.draft, draft_quantization=choice.draft_quantization
        )
