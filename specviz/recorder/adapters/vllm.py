"""vLLM: ``rejection_sample`` of the module with its rejection sampler, and the coins of ``generate_uniform_probs``.

Drafts are chains, those of all requests one after the other: ``draft_token_ids`` [tokens], ``target_probs`` and
``draft_probs`` [tokens, V]; ``num_draft_tokens`` says how many of each request. What comes back is
[batch, longest + 1], -1 behind the tokens of a request: those that were accepted, and one more. Where all requests are
greedy ``target_probs`` are logits. ``draft_probs`` of None counts each drafted token as certain.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from itertools import accumulate
from types import ModuleType
from typing import Any

from specviz.recorder.adapters.batches import Batch, Requests, Row
from specviz.recorder.adapters.hooks import Following, Function, Hooks, arguments, recording
from specviz.recorder.arrays import WrongCall
from specviz.recorder.recorder import Recorder

DECIDES, DRAWS = "rejection_sample", "generate_uniform_probs"


def fits(thing: Any) -> bool:
    """Whether it is a module with both functions."""
    return isinstance(thing, ModuleType) and all(callable(getattr(thing, name, None)) for name in (DECIDES, DRAWS))


def attach(
    thing: Any, path: str | os.PathLike[str] | None = None, *, requests: Requests | None = None, **options: Any
) -> AbstractContextManager[Recorder]:
    """See :func:`specviz.recorder.adapters.attach`.

    Args:
        requests: tells of each row its name and text. Without it a text is what the sampling metadata have of it,
            ``output_token_ids``; a row of which they have nothing is not recorded.
    """

    def install(recorder: Recorder, hooks: Hooks) -> Following:
        steps = _Steps(recorder, requests)
        hooks.replace(thing, DRAWS, steps.generate_uniform_probs)
        hooks.replace(thing, DECIDES, steps.rejection_sample)
        return steps

    return recording(path, {"engine": "vLLM", "lossless": True, **options}, install)


class _Steps(Batch):
    """Attributes:
    coins: [tokens], of the call that is going on; None: none were drawn.
    """

    def __init__(self, recorder: Recorder, requests: Requests | None):
        super().__init__(recorder)
        self.asked = requests
        self.coins: Any = None

    def generate_uniform_probs(self, original: Function) -> Function:
        def generate_uniform_probs(*args: Any, **kwargs: Any) -> Any:
            self.coins = original(*args, **kwargs)
            return self.coins

        return generate_uniform_probs

    def rejection_sample(self, original: Function) -> Function:
        def rejection_sample(*args: Any, **kwargs: Any) -> Any:
            said: dict[str, Any] = {}
            self.coins = None
            with self.recorder.calling("attach"):
                said = arguments(original, args, kwargs)
                self._given(said)
            with self.inside():
                found = original(*args, **kwargs)
            with self.recorder.calling("attach"):
                self._decided(found.tolist())
            return found

        return rejection_sample

    def _given(self, said: dict[str, Any]) -> None:
        self.abandon(None)
        metadata, target, draft = said["sampling_metadata"], said["target_probs"], said["draft_probs"]
        drafted = said["draft_token_ids"].tolist()
        counts = [int(count) for count in said["num_draft_tokens"]]
        self.starts = [0, *accumulate(counts)]
        temperatures = None if metadata.all_greedy else metadata.temperature.tolist()
        self.greedy = [temperatures is None or temperatures[i] <= 0 for i in range(len(counts))]
        texts: Any = () if self.asked is not None else metadata.output_token_ids
        taken: set[str] = set()
        for place, count in enumerate(counts):
            if self.asked is not None:
                name, text = self.asked()[place]
            else:
                text = texts[place] if place < len(texts) else []
                name = self.continued(text, taken)
            if not len(text) or min(text) < 0:
                self.rows.append(None)
                continue
            row = self.open(name, text)
            taken.add(row.name)
            rows = slice(self.starts[place], self.starts[place + 1])
            row.nodes = drafted[rows]
            row.step.tree([text[-1], *row.nodes])
            if count:
                nodes = [*range(count)]
                self._say_target(row, target[rows], nodes, self.greedy[place], metadata.all_greedy)
                if draft is None:
                    row.step.draft(proposal="top_k")
                else:
                    row.step.draft(draft[rows], nodes=nodes, proposal="without_replacement")
        if None in self.rows:
            raise WrongCall("the text of some rows is not known, so they are not recorded; say requests=", "requests")

    @staticmethod
    def _say_target(row: Row, target: Any, nodes: list[int], greedy: bool, logits: bool) -> None:
        import torch

        if not greedy:
            row.step.target(target, nodes=nodes)
            return
        best = torch.zeros_like(target).scatter_(-1, target.argmax(-1, keepdim=True), 1)
        row.step.target(best, logits=target if logits else None, nodes=nodes)

    def _decided(self, found: list[list[int]]) -> None:
        coins = None if self.coins is None else self.coins.tolist()
        for place, row in enumerate([*self.rows]):
            if row is None:
                continue
            committed = [token for token in found[place] if token >= 0]
            accepted, count = len(committed) - 1, len(row.nodes)
            tossed = min(accepted + 1, count)
            drawn = None
            if coins is not None and not self.greedy[place]:
                drawn = {node + 1: coins[self.starts[place] + node] for node in range(tossed)}
            row.step.verify(
                accepted=[*range(1, accepted + 1)],
                bonus=committed[-1],
                committed=committed,
                rule="greedy" if self.greedy[place] else "rejection",
                coins=drawn,
            )
            self.close(row, committed)
