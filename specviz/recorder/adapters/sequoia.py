"""Sequoia: ``SpecTree``, as a class or one tree of it.

``construct_grow_map`` drafts, ``verify`` runs the target and calls ``accept_step`` for one node after the other. The
draft's logits are changed in place there, and are read before; coins lie in ``r``, one for each place of the text and
the tree behind it, whose root is the last token of the text.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any
from weakref import ref

from specviz.recorder.adapters.hooks import Following, Function, Hooks, recording
from specviz.recorder.recorder import Recorder
from specviz.trace.schema import Proposal

NAMES = ("verify", "accept_step")


def fits(thing: Any) -> bool:
    """Whether it is such a class, or a tree with coins."""
    named = all(callable(getattr(thing, name, None)) for name in (*NAMES, "construct_grow_map"))
    return named and (isinstance(thing, type) or hasattr(thing, "r"))


def attach(
    thing: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    proposal: Proposal = "without_replacement",
    **options: Any,
) -> AbstractContextManager[Recorder]:
    """See :func:`specviz.recorder.adapters.attach`.

    Args:
        proposal: what the tree's ``sampling_callables`` do; Sequoia's own draw without replacement.
    """
    named = {"engine": "Sequoia", "rule": "rejection", "lossless": True}

    def install(recorder: Recorder, hooks: Hooks) -> Following:
        steps = _Steps(recorder, None if isinstance(thing, type) else thing, proposal)
        for name in NAMES:
            hooks.replace(thing, name, getattr(steps, name))
        return steps

    return recording(path, {**named, **options}, install)


class _Steps(Following):
    """Nodes are numbered as in ``Successors``: node 0 is the root, at place ``length`` - 1 of the text.

    Attributes:
        tree: the one that is attached; None: a class is, and each call says whose it is.
        length: of the text, the root included.
    """

    def __init__(self, recorder: Recorder, tree: Any, proposal: Proposal):
        super().__init__(recorder)
        self.tree, self.proposal = tree, proposal
        self.seen: ref[Any] | None = None

    def verify(self, original: Function) -> Function:
        def verify(*args: Any, **kwargs: Any) -> Any:
            tree = self.tree if self.tree is not None else args[0]
            with self.recorder.calling("attach"):
                self._drafted(tree)
            with self.inside():
                found = original(*args, **kwargs)
            with self.recorder.calling("attach"):
                self._verified(found)
            return found

        return verify

    def accept_step(self, original: Function) -> Function:
        def accept_step(*args: Any, **kwargs: Any) -> Any:
            tree = self.tree if self.tree is not None else args[0]
            with self.recorder.calling("attach"):
                self._scored(tree)
            found = original(*args, **kwargs)  # inside verify, which sees what it raises
            with self.recorder.calling("attach"):
                self._looked_at(tree, found)
            return found

        return accept_step

    def _drafted(self, tree: Any) -> None:
        self.length = length = int(tree.ground_truth_len)
        end = int(tree.num_nodes)
        if self.seen is None or self.seen() is not tree:  # another text, be it one with the same tokens
            self.seen, self.text = ref(tree), None
        step = self.begin(tree.tokens[:length].tolist())
        count = end - length + 1
        self.children = [[int(child) for child in tree.Successors[node] if child < count] for node in range(count)]
        parents = [-1] * count
        for node, children in enumerate(self.children):
            for child in children:
                parents[child] = node
        step.tree(tree.tokens[length - 1 : end], parents)
        inner = [node for node, children in enumerate(self.children) if children]
        logits = tree.draft_logits[inner]
        step.draft((logits / tree.temperature).softmax(-1), logits=logits, nodes=inner, proposal=self.proposal)
        self.fed = {
            "positions": tree.position_ids[length - 1 : end].clone(),
            "mask": tree.attn_mask[length - 1 : end, :end].clone(),
        }
        self.at, self.path, self.left, self.scored = 0, list[int](), None, False
        self.coins: dict[int, float] = {}

    def _scored(self, tree: Any) -> None:
        """Before the first decision: ``target_logits`` are probabilities by now."""
        if self.step is not None and not self.scored:
            self.scored = True
            self.step.target(tree.target_logits, **self.fed)

    def _looked_at(self, tree: Any, found: Any) -> None:
        if self.step is None:
            return
        place, left = int(found[0]), found[1]
        accepted = place - (self.length - 1) if place >= 0 else -1
        for child in self.children[self.at]:
            self.coins[child] = float(tree.r[child + self.length - 1])
            if child == accepted:
                break
        if accepted >= 0:
            self.path.append(accepted)
            self.at = accepted
        else:
            self.left = left.clone()

    def _verified(self, found: Any) -> None:
        """``found`` begins with the text, and ends with whether it is at its end; then no bonus was drawn."""
        if self.step is None:
            return
        committed = found[0][self.length :].tolist()
        bonus = committed[-1] if len(committed) > len(self.path) else None
        self.step.verify(
            accepted=self.path,
            bonus=bonus,
            committed=committed,
            coins=self.coins,
            bonus_row=None if bonus is None else self.left,
            source=None if bonus is None else "residual" if self.children[self.at] else "target",
        )
        self.finish(committed)
