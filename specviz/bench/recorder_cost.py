"""Part (g) of ``bench``: what a recorder costs a loop that is not specviz's, by what the loop says."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from specviz.bench.step_cost import PROMPT, WARM_UP, Say, synchronize
from specviz.models.language_model import LanguageModel
from specviz.models.loading import Pair
from specviz.recorder.recorder import Recorder
from specviz.recorder.step_record import NO_STEP, NoStep, StepRecord

LEVELS = (1, 2, 3, 4)
"""What the loop says: tree and path; and both models' rows; and coins, thresholds and the bonus' row; and caches, mask
and positions."""
TREES = ((4, 2, 2), (6, 3, 2))
"""Children of every node, level by level: 28 and 60 nodes."""


@dataclass(frozen=True)
class RecorderCost:
    """Steps of one tree at one level.

    Attributes:
        nodes: drafted ones, the root not counted.
        inside: seconds in the recorder's calls, the online checks and the writing among them, of each step.
        bare: seconds of each step of the same loop without a recorder.
    """

    nodes: int
    level: int
    inside: tuple[float, ...]
    bare: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Time inside the recorder's calls over the bare step's time."""
        return median(self.inside) / median(self.bare)

    def as_json(self) -> dict[str, Any]:
        return {
            "nodes": self.nodes,
            "level": self.level,
            "inside_over_bare_step": self.ratio,
            "inside_seconds": self.inside,
            "bare_seconds": self.bare,
        }


class Loop:
    """A loop as research code has it: a tree drawn without replacement, rejection in place, at temperature 1.

    Args:
        widths: children of every node, level by level.
        level: see :data:`LEVELS`; 0 records nothing.
        path: of the recording.
    """

    def __init__(self, pair: Pair, widths: Sequence[int], level: int, path: Path | None = None):
        self.pair, self.widths, self.level = pair, widths, level
        self.target, self.draft = pair.target, LanguageModel(pair.draft_model.model, pair.draft_model.info)
        self.text = pair.encode(PROMPT, False, "drop")
        self.caches = {"target": self.target.new_cache(256), "draft": self.draft.new_cache(256)}
        self.luck = torch.Generator().manual_seed(0)
        for model, cache in ((self.target, self.caches["target"]), (self.draft, self.caches["draft"])):
            model.prefill(cache, self.text[:-1])
        self.rec: Recorder | None = None
        if level:
            said: dict[str, Any] = {"sampling": 1.0, "draft_sampling": 1.0, "engine": "bench", "rule": "rejection"}
            self.rec = Recorder(path, prompt=self.text, lossless=True, strict=True, **said)

    @torch.inference_mode()
    def timed_step(self) -> tuple[float, float]:
        """Seconds of one step, and those inside the recorder's calls."""
        synchronize(self.pair)
        began, before = time.perf_counter(), self.rec.seconds if self.rec else 0.0
        with self.rec.step() if self.rec else NO_STEP as step:
            self._step(step)
        synchronize(self.pair)
        return time.perf_counter() - began, (self.rec.seconds if self.rec else 0.0) - before

    def _step(self, step: StepRecord | NoStep) -> None:
        tokens, parents, q, place, late = self._draft()
        target_cache, past, n = self.caches["target"], len(self.text) - 1, len(tokens)
        logits = self.target.forward(target_cache, tokens, parents, n).logits
        p = logits.softmax(-1)
        step.tree(tokens, parents)
        if self.level > 1:
            step.draft(q, proposal="without_replacement")
            layout: dict[str, Any] = {}
            if self.level > 3:
                mask = torch.zeros(n, past + n, dtype=torch.bool)
                mask[:, :past] = True
                for row, written in zip(mask, target_cache.written, strict=True):
                    row[[past + offset for offset in written.sees]] = True
                layout = {"mask": mask, "positions": [written.position for written in target_cache.written]}
            step.target(p, logits=logits, **layout)
        path, bonus, said = self._verify(tokens, parents, q, p)
        step.verify(accepted=path, bonus=bonus, **(said if self.level > 2 else {}))
        kept = {
            "target": [0, *path],
            "draft": [*range(late), *(place[node] for node in path if node in place)],
        }
        for which in ("target", "draft"):
            cache = self.caches[which]
            read = self.level > 3
            with step.cache(which, cache, length=cache.num_committed) if read else nullcontext():
                cache.compact(kept[which])
        self.text += [*(tokens[node] for node in path), bonus]

    def _draft(self) -> tuple[list[int], list[int], torch.Tensor, dict[int, int], int]:
        """Tokens and parents; the draft's rows; node -> offset of its slot; how many tokens of the text were fed."""
        cache = self.caches["draft"]
        feed = self.text[cache.num_committed :]
        late = len(feed)
        tokens, parents, level, above, rows = [self.text[-1]], [-1], [0], [*range(-1, late - 1)], []
        place = {0: late - 1}
        for width in self.widths:
            rows.append(self.draft.forward(cache, feed, above, len(level)).logits.softmax(-1))
            below = []
            for parent, row in zip(level, rows[-1], strict=True):
                for token in torch.multinomial(row.cpu(), width, generator=self.luck).tolist():
                    below.append(len(tokens))
                    tokens.append(token)
                    parents.append(parent)
            feed, above = [tokens[node] for node in below], [place[parents[node]] for node in below]
            first = max(place.values()) + 1
            level, place = below, place | {node: first + i for i, node in enumerate(below)}
        fed = {node: offset for node, offset in place.items() if node not in level}  # the last level is not run
        return tokens, parents, torch.cat(rows), {node: offset for node, offset in fed.items() if node}, late

    def _verify(
        self, tokens: list[int], parents: list[int], q: torch.Tensor, p: torch.Tensor
    ) -> tuple[list[int], int, dict[str, Any]]:
        """Accepted nodes and the bonus, and what a recorder may be told of them. Changes the rows of ``p``."""
        path: list[int] = []
        coins: dict[int, float] = {}
        ratios: dict[int, float] = {}
        while True:
            node = path[-1] if path else 0
            children = [child for child, parent in enumerate(parents) if parent == node]
            p_row, q_row = p[node], q[node].clone() if children else p[node]
            for child in children:
                token = tokens[child]
                coins[child] = float(torch.rand((), generator=self.luck))
                ratios[child] = float(p_row[token] / q_row[token])
                if coins[child] < ratios[child]:
                    path.append(child)
                    break
                p_row.sub_(q_row).clamp_(min=0).div_(p_row.sum())
                q_row[token] = 0
                q_row.div_(q_row.sum())
            else:
                bonus = int(torch.multinomial(p_row.cpu(), 1, generator=self.luck))
                return path, bonus, {"coins": coins, "thresholds": ratios, "bonus_row": p_row}


def recorder_costs(
    pair: Pair,
    steps: int,
    trees: Sequence[Sequence[int]] = TREES,
    say: Say = print,
    enough: Callable[[], bool] = lambda: False,
) -> list[RecorderCost]:
    """Measure ``steps`` steps of every tree at every level, and without a recorder.

    All loops of a tree decode the same text and take turns step by step, so that a slow moment of the machine meets
    all of them.
    """
    found = []
    for widths in trees:
        with tempfile.TemporaryDirectory(prefix="specviz-bench-") as folder:
            loops = [Loop(pair, widths, level, Path(folder) / f"{level}.jsonl") for level in (0, *LEVELS)]
            measured: list[list[tuple[float, float]]] = [[] for _ in loops]
            for turn in range(steps + WARM_UP):
                say(f"recorder, {','.join(map(str, widths))}: round {turn + 1} of {steps + WARM_UP}")
                for loop, done in zip(loops, measured, strict=True):
                    times = loop.timed_step()
                    if turn >= WARM_UP:
                        done.append(times)
                assert len({tuple(loop.text) for loop in loops}) == 1, "a recorder has changed what was decoded"
                if turn >= WARM_UP and enough():
                    break
            for loop in loops[1:]:
                assert loop.rec is not None
                loop.rec.close()
        nodes = _nodes(widths)
        bare = tuple(wall for wall, _ in measured[0])
        for level, done in zip(LEVELS, measured[1:], strict=True):
            found.append(RecorderCost(nodes, level, tuple(inside for _, inside in done), bare))
    return found


def _nodes(widths: Sequence[int]) -> int:
    level, total = 1, 0
    for width in widths:
        level *= width
        total += level
    return total


def recorder_lines(costs: Sequence[RecorderCost]) -> Iterator[str]:
    """Part (g) as a table, milliseconds."""
    yield f"{'nodes':>6}{'level':>6}{'steps':>6}{'inside/step':>13}{'inside':>10}{'bare step':>11}  [ms]"
    for cost in costs:
        inside, bare = 1e3 * median(cost.inside), 1e3 * median(cost.bare)
        yield f"{cost.nodes:>6}{cost.level:>6}{len(cost.inside):>6}{cost.ratio:>13.4f}{inside:>10.2f}{bare:>11.1f}"
