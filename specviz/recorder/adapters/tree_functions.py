"""EAGLE, Medusa and Hydra: three functions that the module with their ``generate`` calls by name.

``tree_decoding`` runs the target on the tree, ``evaluate_posterior`` decides, ``update_inference_inputs`` appends to
the text and compacts the target's KV cache. The tree comes as paths: ``retrieve_indices`` [paths, depth + 1] holds the
nodes of each from the root down, -1 behind its end.

The root is drawn from the row before it, but is not in ``input_ids`` yet. EAGLE draws the next root, the bonus, inside
``update_inference_inputs``; Medusa and Hydra when they propose the next tree, so their step ends there.
"""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from types import ModuleType
from typing import Any

from specviz.recorder.adapters.coins import PythonCoins
from specviz.recorder.adapters.hooks import Following, Function, Hooks, arguments, recording
from specviz.recorder.recorder import Recorder

NAMES = ("tree_decoding", "evaluate_posterior", "update_inference_inputs")
MASKS = ("tree_mask", "medusa_mask", "hydra_mask")
"""Where the base model keeps the mask of the tree, [1, 1, n, n]: 1 where a node sees another."""


def _module_of(thing: Any) -> ModuleType | None:
    """The module itself, or the one that the class of a model stands in."""
    modules = [thing] if isinstance(thing, ModuleType) else [sys.modules.get(c.__module__) for c in type(thing).__mro__]
    for module in modules:
        if module is not None and all(callable(getattr(module, name, None)) for name in NAMES):
            return module
    return None


def fits(thing: Any) -> bool:
    """Whether it is such a module, or a model whose class stands in one."""
    return _module_of(thing) is not None


def attach(thing: Any, path: str | os.PathLike[str] | None = None, **options: Any) -> AbstractContextManager[Recorder]:
    """See :func:`specviz.recorder.adapters.attach`."""
    module = _module_of(thing)
    assert module is not None
    parameters = inspect.signature(module.evaluate_posterior).parameters
    eagle = "logits_processor" in parameters
    named = {
        "engine": "EAGLE" if eagle else "Hydra" if "max_accepts" in parameters else "Medusa",
        "lossless": True if eagle else None,
        "target": None if isinstance(thing, ModuleType) else getattr(thing, "base_model", thing),
    }

    def install(recorder: Recorder, hooks: Hooks) -> Following:
        steps = _Steps(recorder, options.get("rule"))
        for name in NAMES:
            hooks.replace(module, name, getattr(steps, name))
        return steps

    return recording(path, {**named, **options}, install)


class _Steps(Following):
    """The step that is open, as far as the three functions have told of it.

    Attributes:
        paths: [paths][depth + 1], the nodes.
        waiting: whether the verdict is known but for the bonus, which the next root is.
    """

    def __init__(self, recorder: Recorder, rule: str | None):
        super().__init__(recorder)
        self.rule = rule
        self.paths: list[list[int]] = []
        self.waiting = False
        self.verdict: dict[str, Any] = {}

    # -------------------------------------------------------------------------------------- the three, in their order

    def tree_decoding(self, original: Function) -> Function:
        def tree_decoding(*args: Any, **kwargs: Any) -> Any:
            with self.recorder.calling("attach"):
                self._grown(arguments(original, args, kwargs))
            with self.inside():
                return original(*args, **kwargs)

        return tree_decoding

    def evaluate_posterior(self, original: Function) -> Function:
        def evaluate_posterior(*args: Any, **kwargs: Any) -> Any:
            with self.recorder.calling("attach"):
                self._scored(arguments(original, args, kwargs))
            coins = PythonCoins()
            with self.inside():
                found = original(*args, **kwargs)
            with self.recorder.calling("attach"):
                self._decided(found, coins)
            return found

        return evaluate_posterior

    def update_inference_inputs(self, original: Function) -> Function:
        def update_inference_inputs(*args: Any, **kwargs: Any) -> Any:
            cache: AbstractContextManager[Any] = nullcontext()
            with self.recorder.calling("attach"):
                cache = self._cache(arguments(original, args, kwargs))
            with self.inside(), cache:
                found = original(*args, **kwargs)
            with self.recorder.calling("attach"):
                self._appended(found)
            return found

        return update_inference_inputs

    # --------------------------------------------------------------------------------------------- what each one tells

    def _grown(self, said: dict[str, Any]) -> None:
        import torch

        text = said["input_ids"][0].tolist()
        tokens = said["tree_candidates"].reshape(-1).tolist()
        if self.waiting and self.text is not None and text == self.text + self.verdict["committed"]:
            self._close(tokens[0])
        step = self.begin([*text, tokens[0]])
        self.paths = said["retrieve_indices"].tolist()
        parents = [-1] * len(tokens)
        for path in self.paths:
            for above, node in pairwise(path):
                if node >= 0:
                    parents[node] = above
        self.tokens, self.parents = tokens, parents
        step.tree(tokens, parents)
        positions = next((value for name, value in said.items() if name.endswith("position_ids")), None)
        base = getattr(getattr(said["model"], "base_model", None), "model", None)
        mask = next((found for name in MASKS if (found := getattr(base, name, None)) is not None), None)
        self.fed = {
            "positions": None if positions is None else (positions + len(text)).clone(),
            # What is before the tree, all of it is seen: the base model widens its own causal mask by this one.
            "mask": None if mask is None else torch.nn.functional.pad(mask[0, 0], (len(text), 0), value=1),
        }

    def _scored(self, said: dict[str, Any]) -> None:
        if self.step is None:
            return
        import torch

        logits = said["logits"]
        places = {node: (i, j) for i, path in enumerate(self.paths) for j, node in enumerate(path) if node >= 0}
        rows, columns = zip(*(places[node] for node in range(len(self.tokens))), strict=True)
        z = logits[list(rows), list(columns)]
        processor, temperature = said.get("logits_processor"), said.get("temperature")
        self.sampled = processor is not None or bool(temperature)
        if processor is not None:
            p = processor(None, z.clone()).softmax(-1)
        elif temperature:
            p = (z / temperature).softmax(-1)
        else:
            p = torch.zeros_like(z).scatter_(-1, z.argmax(-1, keepdim=True), 1)
        self.step.target(p, logits=z, **self.fed)
        self.eagle = "logits_processor" in said
        if self.eagle:
            self.step.draft(proposal="top_k")  # q counts as 1
        own = ("rejection" if self.eagle else said.get("sampling", "typical")) if self.sampled else "greedy"
        if "cart_candidates_prob" in said:  # of EAGLE's first version: its q is not ours to guess
            self.eagle, own = False, "EAGLE"
        self.verdict = {"rule": self.rule or own}

    def _decided(self, found: Any, coins: PythonCoins) -> None:
        if self.step is None:
            return
        best, accepted = int(found[0]), int(found[1])
        path = self.paths[best][1 : accepted + 1]
        self.verdict |= {"accepted": path, "committed": [self.tokens[node] for node in path]}
        if self.eagle and len(found) == 3:
            self._drawn_from(found[2], path)
        if self.eagle and self.sampled:
            tossed = self._tossed(path)
            drawn = coins.drawn(len(tossed))
            self.verdict["coins"] = None if drawn is None else dict(zip(tossed, drawn, strict=True))

    def _drawn_from(self, row: Any, path: list[int]) -> None:
        """``sample_p``: probabilities where tokens are sampled, else the logits whose largest is taken."""
        end = path[-1] if path else 0
        if self.sampled:
            self.verdict |= {"bonus_row": row, "source": "residual" if end in self.parents else "target"}
        else:
            self.verdict["source"] = "argmax"

    def _tossed(self, path: list[int]) -> list[int]:
        """Nodes in the order in which EAGLE tosses a coin for them: children in the order of the paths, each token
        once, down to the one that is accepted."""
        tossed = []
        for depth, above in enumerate([0, *path]):
            seen: set[int] = set()
            for one in self.paths:
                if depth + 1 >= len(one) or one[depth] != above or one[depth + 1] < 0:
                    continue
                child = one[depth + 1]
                if self.tokens[child] in seen:
                    continue
                seen.add(self.tokens[child])
                tossed.append(child)
                if depth < len(path) and child == path[depth]:
                    break
        return tossed

    def _cache(self, said: dict[str, Any]) -> AbstractContextManager[Any]:
        """Keys and values [layers * 2, batch, heads, slots, size], in one tensor or in one of each device."""
        data = said.get("past_key_values_data_list", said.get("past_key_values_data"))
        lengths = said.get("current_length_data")
        if self.step is None or data is None or lengths is None:
            return nullcontext()
        blocks = [*data] if isinstance(data, (list, tuple)) else [data]

        def layers() -> list[tuple[Any, Any]]:
            used = int(lengths[0])
            cut = [block[..., :used, :] for block in blocks]
            return [(block[i], block[i + 1]) for block in cut for i in range(0, len(block), 2)]

        return self.step.cache("target", layers, length=said["input_ids"].shape[1])

    def _appended(self, found: Any) -> None:
        if self.step is None:
            return
        drawn = found[-1]
        if getattr(drawn, "ndim", 0) == 2:  # EAGLE's next root, [1, 1]
            self._close(int(drawn))
        else:
            self.waiting = True

    def _close(self, bonus: int | None) -> None:
        assert self.step is not None
        said, self.waiting = self.verdict, False
        if bonus is not None:
            said |= {"bonus": bonus, "committed": [*said["committed"], bonus]}
        self.step.verify(**said)
        self.finish(said["committed"])

    def abandon(self, error: BaseException | None) -> None:
        if self.waiting and self.step is not None:  # the last one of a run, whose bonus nobody has drawn
            self._close(None)
        super().abandon(error)
