"""SGLang: the wrappers of its sampling kernels, which hold the tree, coins, the target's rows and what was decided.

A tree of n nodes is flat there: ``candidates`` [batch, n], node 0 the root; of each node its first child and its next
sibling, -1 where there is none. ``accept_index`` and ``predicts`` number nodes over the whole batch, by
``retrive_index``.

One coin u a node is compared with the running sum of its children's probabilities. After siblings of mass s were passed
over, u is uniform between s and 1, and accepting where u <= s + p is accepting where (u - s) / (1 - s) <= p / (1 - s):
that is the coin of this child alone, and the rule is rejection with q = 1. It is recorded so.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from specviz.recorder.adapters.batches import Batch, Requests
from specviz.recorder.adapters.hooks import Following, Function, Hooks, arguments, recording
from specviz.recorder.raw_step import BONUS
from specviz.recorder.recorder import Recorder

SAMPLED, GREEDY = "tree_speculative_sampling_target_only", "verify_tree_greedy"
VERIFIES = "EagleVerifyInput"
"""The class whose ``verify(batch, ...)`` calls the wrappers, and knows whose rows they get."""


def fits(thing: Any) -> bool:
    """Whether it is a module that calls one of the wrappers by name."""
    return isinstance(thing, ModuleType) and any(callable(getattr(thing, name, None)) for name in (SAMPLED, GREEDY))


def attach(
    thing: Any, path: str | os.PathLike[str] | None = None, *, requests: Requests | None = None, **options: Any
) -> AbstractContextManager[Recorder]:
    """See :func:`specviz.recorder.adapters.attach`.

    Args:
        requests: tells of each row its name and text, where the module has no ``EagleVerifyInput``. Without both, a row
            is known by its place, and its text begins with the first root that is seen.
    """

    def install(recorder: Recorder, hooks: Hooks) -> Following:
        steps = _Steps(recorder, requests)
        for name in (SAMPLED, GREEDY):
            if hasattr(thing, name):
                hooks.replace(thing, name, steps.wrapper)
        if callable(getattr(getattr(thing, VERIFIES, None), "verify", None)):
            hooks.replace(getattr(thing, VERIFIES), "verify", steps.verify)
        return steps

    return recording(path, {"engine": "SGLang", **options}, install)


class _Steps(Batch):
    def __init__(self, recorder: Recorder, requests: Requests | None):
        super().__init__(recorder)
        self.asked = requests
        self.reqs: list[Any] | None = None

    def verify(self, original: Function) -> Function:
        def verify(*args: Any, **kwargs: Any) -> Any:
            with self.recorder.calling("attach"):
                self.reqs = getattr(arguments(original, args, kwargs)["batch"], "reqs", None)
            try:
                return original(*args, **kwargs)
            finally:
                self.reqs = None

        return verify

    def wrapper(self, original: Function) -> Function:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            said: dict[str, Any] = {}
            with self.recorder.calling("attach"):
                said = {
                    name.replace("retrieve", "retrive"): value
                    for name, value in arguments(original, args, kwargs).items()
                }
                self._given(said)
            with self.inside():
                found = original(*args, **kwargs)
            with self.recorder.calling("attach"):
                self._decided(said)
            return found

        return wrapper

    def _whose(self, place: int, root: int) -> tuple[str, list[int], bool]:
        """Name, text, and whether that is all of it."""
        if self.asked is not None:
            name, text = self.asked()[place]
            return name, [*text], True
        if self.reqs is not None:
            req = self.reqs[place]
            return str(req.rid), [*req.origin_input_ids, *req.output_ids], True
        return f"row {place}", [root], False

    def _given(self, said: dict[str, Any]) -> None:
        self.abandon(None)
        tokens = said["candidates"].tolist()
        below, beside = said["retrive_next_token"].tolist(), said["retrive_next_sibling"].tolist()
        for place, row_tokens in enumerate(tokens):
            parent = {0: -1}
            waiting = [0]
            while waiting:
                node = waiting.pop()
                child = below[place][node]
                while child >= 0 and child not in parent:
                    parent[child] = node
                    waiting.append(child)
                    child = beside[place][child]
            row = self.open(*self._whose(place, row_tokens[0]))
            row.nodes = sorted(parent)
            number = {node: i for i, node in enumerate(row.nodes)} | {-1: -1}
            row.step.tree([row_tokens[node] for node in row.nodes], [number[parent[node]] for node in row.nodes])
            if "target_probs" in said:
                row.step.target(said["target_probs"][place, row.nodes])
            row.step.draft(proposal="top_k")

    def _decided(self, said: dict[str, Any]) -> None:
        tokens, index = said["candidates"].tolist(), said["retrive_index"].tolist()
        below, beside = said["retrive_next_token"].tolist(), said["retrive_next_sibling"].tolist()
        accepted, predicts = said["accept_index"].tolist(), said["predicts"].tolist()
        sampled = "target_probs" in said
        # Only with thresholds of 1, their defaults, is it this rule; with others it accepts more.
        exact = sampled and said.get("threshold_single", 1.0) >= 1 and said.get("threshold_acc", 1.0) == 1
        coins = said["uniform_samples"].tolist() if exact else None
        last = said.get("uniform_samples_for_final_sampling")
        for place, row in enumerate([*self.rows]):
            if row is None:
                continue
            flat = [one for one in accepted[place] if one >= 0]
            path = [index[place].index(one) for one in flat]  # the root is the first
            bonus = predicts[flat[-1]]
            number = {node: i for i, node in enumerate(row.nodes)}
            tossed: dict[int, float] = {}
            for above, taken in zip(path, [*path[1:], None], strict=True):
                child, passed = below[place][above], 0.0
                while coins is not None and child >= 0:
                    if passed < 1:
                        tossed[number[child]] = min(1.0, max(0.0, (coins[place][above] - passed) / (1 - passed)))
                    passed += float(said["target_probs"][place, above, tokens[place][child]])
                    child = -1 if child == taken else beside[place][child]
            if last is not None:
                tossed[BONUS] = float(last[place])
            committed = [*(tokens[place][node] for node in path[1:]), bonus]
            row.step.verify(
                accepted=[number[node] for node in path[1:]],
                bonus=bonus,
                committed=committed,
                rule="rejection" if exact else "target_only" if sampled else "greedy",
                coins=tossed or None,
            )
            self.close(row, committed)
