"""How good a draft model is: its overlap with the target on held-out chats, and tokens per forward on several trees.

``sum(min(p, q))`` at a place of the text is the probability that a token drafted there is accepted by speculative
sampling (Leviathan et al. 2023, arXiv 2211.17192, section 3.1), so its mean bounds what any tree can be worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from specviz.engine.session import Session
from specviz.models.head_model import HeadModel
from specviz.models.language_model import LanguageModel
from specviz.models.loading import Pair
from specviz.models.plain_heads import plain_head_rows
from specviz.models.target_states import plain_states
from specviz.trace.metrics import acceptance_by_rank, block_efficiency, emitted_lengths
from specviz.trace.schema import Choice, Settings, Step
from specviz.train.chats import Chat, prompts, read_chats, write_shard

TREES = {
    "chain of 4": Choice(name="k_config", options={"tree": "1,1,1,1"}),
    "4,2,2": Choice(name="k_config", options={"tree": "4,2,2"}),
    "heterogeneous": Choice(name="explicit", options={}),
    "dynamic, 28 nodes": Choice(name="dynamic", options={"total": 28, "top_k": 6, "depth": 6}),
    "sequoia, 28 nodes": Choice(name="sequoia", options={"total": 28}),
    "8,2,2": Choice(name="k_config", options={"tree": "8,2,2"}),
}
VERIFIERS = ("rejection", "traversal", "naive")
RANKS_OF = "8,2,2"
"""The tree from which acceptance by sibling rank is read."""


@dataclass(frozen=True)
class Overlap:
    """Over the replies of held-out chats, at temperature 1.

    Attributes:
        mean: of sum(min(p, q)) over all places.
        same_top: share of places where both models have the same most likely token.
        chats, places: how many.
    """

    mean: float
    same_top: float
    chats: int
    places: int


@dataclass(frozen=True)
class Quality:
    """How good a draft is, as ``measure-draft`` prints it.

    Attributes:
        efficiency: tree -> verifier -> new tokens per target forward, bonus included, at temperature 1.
        ranks: probability that the r-th sibling is the accepted one, given that its parent was accepted (rejection).
        runs: runs behind each efficiency, of ``new_tokens`` tokens at most.
        by_chat: of each chat, what :func:`overlaps` says.
        by_prompt: tree -> verifier -> (new tokens, steps) of each run.
    """

    overlap: Overlap
    efficiency: dict[str, dict[str, float]]
    ranks: tuple[float, ...]
    runs: int
    new_tokens: int
    by_chat: tuple[tuple[float, float, int], ...] = ()
    by_prompt: dict[str, dict[str, tuple[tuple[int, int], ...]]] = field(default_factory=dict)

    def table(self) -> str:
        """For the command line."""
        it = self.overlap
        lines = [
            f"mean sum(min(p, q)) at temperature 1: {it.mean:.3f}",
            f"({it.places:,} places of {it.chats} held-out chats)",
            f"same most likely token: {it.same_top:.1%}",
            "",
            f"new tokens per target forward, {self.runs} held-out prompts, {self.new_tokens} tokens, temperature 1",
            f"{'tree':<20}" + "".join(f"{name:>12}" for name in VERIFIERS),
        ]
        for tree, values in self.efficiency.items():
            lines.append(f"{tree:<20}" + "".join(f"{values[name]:>12.2f}" for name in VERIFIERS))
        lines += [
            "",
            "acceptance by sibling rank, for sequoia: " + ",".join(f"{share:.3f}" for share in self.ranks),
        ]
        return "\n".join(lines)


def measure(
    pair: Pair, folder: Path, *, shards: int, runs: int, new_tokens: int, say: Callable[[str], None]
) -> Quality:
    """Measure the draft of ``pair`` on chats that its target writes into ``folder`` if they are not there yet."""
    for number in range(shards):
        say(f"held-out chats, shard {number + 1} of {shards}")
        write_shard(pair, folder, number, held_out=True)
    chats = list(read_chats(folder, held_out=True))
    say(f"overlap on {len(chats)} chats")
    by_chat = tuple(overlaps(pair.target, pair.draft, chats))
    efficiency: dict[str, dict[str, float]] = {}
    by_prompt: dict[str, dict[str, tuple[tuple[int, int], ...]]] = {}
    ranks: tuple[float, ...] = ()
    for tree, choice in TREES.items():
        say(f"runs with the tree {tree}")
        traces = list(_runs(pair, choice, runs, new_tokens))
        steps = [step for trace in traces for step in trace.steps]
        efficiency[tree] = {
            name: sum(block_efficiency(trace, name) * len(trace.steps) for trace in traces) / len(steps)
            for name in VERIFIERS
        }
        by_prompt[tree] = {
            name: tuple((sum(emitted_lengths(trace, name)), len(trace.steps)) for trace in traces) for name in VERIFIERS
        }
        if tree == RANKS_OF:
            ranks = shares_by_rank(steps)
    return Quality(summed(iter(by_chat)), efficiency, ranks, runs, new_tokens, by_chat, by_prompt)


def shares_by_rank(steps: Sequence[Step]) -> tuple[float, ...]:
    """Of the nodes whose children rejection sampling looked at, the share that went on to the r-th child."""
    found = acceptance_by_rank(steps, "rejection")
    # A verifier that looks at any child looks at the first one, so its count is that of the nodes.
    return tuple(accepted / found[0][1] for accepted, _ in found) if found else ()


def overlaps(
    target: LanguageModel, draft: LanguageModel | HeadModel, chats: Sequence[Chat]
) -> Iterator[tuple[float, float, int]]:
    """Per chat, over its reply at temperature 1: sum of ``sum(min(p, q))``, number of equal top tokens, of places.

    A draft that reads the target gets its hidden states at every place, as at the root of a tree.
    """
    with torch.inference_mode():
        for chat in chats:
            tokens = np.concatenate([chat.prompt, chat.reply])[:-1].tolist()
            features = None
            if isinstance(draft, HeadModel):
                p, q = target.plain_logits(tokens)[1:], plain_head_rows(target, draft, tokens)
                p, q = (torch.softmax(row[max(0, len(chat.prompt) - 2) :], -1).cpu() for row in (p, q))
                yield float(torch.minimum(p, q).sum()), float((p.argmax(-1) == q.argmax(-1)).sum()), len(p)
                continue
            if draft.head:
                states = plain_states(target.model, target.plain_ids(tokens), draft.head.layers)
                features = draft.head.text_features(states)[:-1]
            rows = [target.plain_logits(tokens), draft.plain_logits(tokens, features)]
            p, q = (torch.softmax(row[len(chat.prompt) - 1 :], -1).cpu() for row in rows)
            yield float(torch.minimum(p, q).sum()), float((p.argmax(-1) == q.argmax(-1)).sum()), len(p)


def summed(parts: Iterator[tuple[float, float, int]]) -> Overlap:
    """One figure out of those of :func:`overlaps`, every place counting the same."""
    known = list(parts)
    places = sum(n for _, _, n in known)
    return Overlap(sum(s for s, _, _ in known) / places, sum(t for _, t, _ in known) / places, len(known), places)


def _runs(pair: Pair, tree: Choice, runs: int, new_tokens: int) -> Iterator[Any]:
    settings = Settings(
        builder=tree,
        verifiers=tuple(Choice(name=name) for name in VERIFIERS),
        driver="rejection",
        max_new_tokens=new_tokens,
        chat=True,
    )
    for seed, prompt in enumerate(prompts(held_out=True)[:runs]):
        session = Session(pair, settings.model_copy(update={"seed": seed}), prompt)
        for _ in session.run():
            pass
        yield session.trace
