"""MCSD: a strategy with ``generate_draft``, ``acceptance_check`` and ``verify``.

The tree has ``k_config[d]`` children below every node of depth d. ``generate_draft`` returns it with the draft's rows,
``cand_probs``: of each depth [nodes, V]. ``verify`` runs the target, then calls ``acceptance_check`` for one node after
the other, and the rows of both models are changed in place there: they are read before.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from itertools import accumulate
from operator import mul
from typing import Any

from specviz.recorder.adapters.coins import TorchCoins
from specviz.recorder.adapters.hooks import Following, Function, Hooks, arguments, recording
from specviz.recorder.recorder import Recorder

NAMES = ("generate_draft", "acceptance_check", "verify")


def _strategy_of(thing: Any) -> Any:
    """The strategy itself, or the one of a generator."""
    for one in (thing, getattr(thing, "strategy", None)):
        if hasattr(one, "k_config") and all(callable(getattr(one, name, None)) for name in NAMES):
            return one
    return None


def fits(thing: Any) -> bool:
    """Whether it is such a strategy, or a generator that has one."""
    return _strategy_of(thing) is not None


def attach(thing: Any, path: str | os.PathLike[str] | None = None, **options: Any) -> AbstractContextManager[Recorder]:
    """See :func:`specviz.recorder.adapters.attach`."""
    strategy = _strategy_of(thing)
    named = {
        "engine": "MCSD",
        "rule": "rejection" if getattr(strategy, "speculative_sampling", True) else "naive",
        "lossless": True,
        "target": getattr(strategy, "target_model", None),
        "draft": getattr(strategy, "draft_model", None),
    }

    def install(recorder: Recorder, hooks: Hooks) -> Following:
        steps = _Steps(recorder, strategy, {**named, **options}["rule"])
        for name in NAMES:
            hooks.replace(strategy, name, getattr(steps, name))
        return steps

    return recording(path, {**named, **options}, install)


class _Steps(Following):
    """Nodes are numbered level by level; ``starts[d]`` is the first of depth d, the root is node 0.

    Attributes:
        at: the node whose children are looked at, and its place among the nodes of its depth.
        logits: [n, V] of the target, where its head was seen.
        rows: node -> the row that ``acceptance_check`` was given for it.
    """

    def __init__(self, recorder: Recorder, strategy: Any, rule: str):
        super().__init__(recorder)
        self.strategy, self.rule = strategy, rule

    # ----------------------------------------------------------------------------------------------- in their order

    def generate_draft(self, original: Function) -> Function:
        def generate_draft(*args: Any, **kwargs: Any) -> Any:
            with self.recorder.calling("attach"):
                self.begin(arguments(original, args, kwargs)["input_ids"][0].tolist())
            with self.inside():
                found = original(*args, **kwargs)
            with self.recorder.calling("attach"):
                self._drafted(found)
            return found

        return generate_draft

    def acceptance_check(self, original: Function) -> Function:
        def acceptance_check(*args: Any, **kwargs: Any) -> Any:
            row: Any = None
            coins: TorchCoins | None = None
            with self.recorder.calling("attach"):
                row = next(iter(arguments(original, args, kwargs).values()))
                self.rows[self.at] = row.clone()
                coins = TorchCoins(row.device)
            found = original(*args, **kwargs)  # inside verify, which sees what it raises
            with self.recorder.calling("attach"):
                self._checked(found, row, coins)
            return found

        return acceptance_check

    def verify(self, original: Function) -> Function:
        def verify(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as stack:
                with self.recorder.calling("attach"):
                    self._see_head(stack)
                with self.inside():
                    found = original(*args, **kwargs)
            with self.recorder.calling("attach"):
                self._verified(found)
            return found

        return verify

    # ------------------------------------------------------------------------------------------- what each one tells

    def _drafted(self, found: Any) -> None:
        if self.step is None or self.text is None:
            return
        children = [int(count) for count in self.strategy.k_config]
        sizes = [*accumulate(children, mul)]
        self.children, self.starts = children, [0, *accumulate(sizes, initial=1)]
        drafted = found.sequences[:, len(self.text) :].tolist()
        if len(drafted) == 1 and len(drafted[0]) == sum(sizes):  # one row that holds the tree
            tokens = drafted[0]
            self.places: list[tuple[int, int]] = [(0, node) for node in range(len(tokens) + 1)]
        else:  # a row for each path
            stride = [len(drafted) // size for size in sizes]
            self.places = [
                (0, 0),
                *((i * stride[depth], depth + 1) for depth, size in enumerate(sizes) for i in range(size)),
            ]
            tokens = [drafted[row][column - 1] for row, column in self.places[1:]]
        parents = [-1, *(self.starts[d] + i // k for d, k in enumerate(children) for i in range(sizes[d]))]
        self.tokens = [self.text[-1], *tokens]
        self.step.tree(self.tokens, parents)
        self.at, self.place, self.depth = 0, 0, 0
        self.rows: dict[int, Any] = {}
        self.coins: dict[int, float] | None = {}
        self.path: list[int] = []
        self.left: Any = None
        self.logits: Any = None
        chosen = self.strategy.draft_model_temp == 0 and not self.strategy.replacement
        self.step.draft(
            [row for rows in found.cand_probs for row in rows.clone()],
            nodes=[*range(self.starts[len(children)])],
            proposal="top_k" if chosen else "with_replacement" if self.strategy.replacement else "without_replacement",
        )

    def _see_head(self, stack: ExitStack) -> None:
        head: Any = getattr(self.strategy.target_model, "lm_head", None)
        if self.step is None or not hasattr(head, "register_forward_hook"):
            return

        def seen(_: Any, __: Any, logits: Any) -> None:
            with self.recorder.calling("attach"):
                rows, columns = zip(*self.places, strict=True)
                if logits.shape[0] > max(rows) and logits.shape[1] > max(columns):
                    self.logits = logits[list(rows), list(columns)]

        stack.callback(head.register_forward_hook(seen).remove)

    def _checked(self, found: Any, row: Any, coins: TorchCoins | None) -> None:
        if self.step is None:
            return
        first = self.starts[self.depth + 1] + self.place * self.children[self.depth]
        looked_at = self.children[self.depth] if found is None else int(found) + 1
        if self.rule == "naive":
            self.coins = None
        elif self.coins is not None and coins is not None:
            drawn = coins.drawn(looked_at)
            self.coins = None if drawn is None else self.coins | dict(enumerate(drawn, start=first))
        if found is None:
            # What is left of the row is what the bonus is drawn from; of the naive rule it is the draw itself.
            self.left = None if self.rule == "naive" else row.clone()
            return
        self.place = self.place * self.children[self.depth] + int(found)
        self.at, self.depth = first + int(found), self.depth + 1
        self.path.append(self.at)

    def _verified(self, found: Any) -> None:
        if self.step is None or self.text is None:
            return
        self._say_target()
        committed = found.sequences[0, len(self.text) :].tolist()
        self.step.verify(
            accepted=self.path,
            bonus=committed[-1],
            committed=committed,
            rule=self.rule,
            coins=self.coins,
            bonus_row=self.left,
            source="target" if self.left is None else "residual",
        )
        self.finish(committed)

    def _say_target(self) -> None:
        """Of nodes that were looked at the row that was decided by; of others what the target's head gave."""
        import torch

        assert self.step is not None
        if self.logits is None:
            self.step.target([*self.rows.values()], nodes=[*self.rows])
            return
        temperature = self.strategy.target_model_temp
        if temperature == 0:
            p = torch.zeros_like(self.logits).scatter_(-1, self.logits.argmax(-1, keepdim=True), 1)
        else:
            p = torch.softmax(self.logits / temperature, dim=-1)
        for node, row in self.rows.items():
            p[node] = row
        self.step.target(p, logits=self.logits)
