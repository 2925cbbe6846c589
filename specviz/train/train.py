"""Training a draft: a small Llama that learns the target's distribution on chats the target wrote.

The loss is the cross-entropy against the target's most likely tokens and the lump of all others, then mostly the total
variation distance itself, whose complement ``sum(min(p, q))`` is the probability that a drafted token is accepted
(DistillSpec, arXiv 2310.08461). Most of the work is the output head. So its normalizer is taken over the tokens that
the target uses most and a fresh sample of the others, each standing for many.

What is trained is the draft's layers (:mod:`specviz.train.layers`) or, of a draft that reads the target's hidden
states, its head alone (:mod:`specviz.train.head`). A training that was stopped goes on from its last saved state.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from specviz.errors import ModelError
from specviz.models.loading import Pair
from specviz.train.chats import Chat
from specviz.train.head import HeadStudent
from specviz.train.layers import LayerStudent
from specviz.train.student import Example, Student, TrainingPlan

FREQUENT = 6144
"""Tokens whose logits are always computed."""
SAMPLED = 1536
"""Tokens drawn among the others at every batch."""
SAVE_EVERY = 100
"""Batches after which the state of the training is saved and progress is reported."""


@dataclass(frozen=True)
class Progress:
    """What the last batches were like: mean loss in nats and mean overlap with the target on its likely tokens."""

    batch: int
    batches: int
    loss: float
    overlap: float
    seconds: float


def train(pair: Pair, folder: Path, plan: TrainingPlan, report: Callable[[Progress], None]) -> Path:
    """Train the draft of ``pair`` on the chats in ``folder``; goes on where an earlier call stopped.

    Returns:
        The folder with the trained draft, in the form of ``assets/draft``.

    Raises:
        ModelError: if there are no chats, or the training that is there has another plan.
    """
    state = folder / "training"
    pair.draft_model.model.requires_grad_(False)
    student: Student = HeadStudent(pair, plan) if plan.reads else LayerStudent(pair, plan)
    # Listed first: a shard that comes while the others are read is seen as new.
    shards, examples = _shards(folder), student.read(folder)
    optimizer = torch.optim.AdamW(student.parameters.values(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.05)
    begun = _resume(state, plan, student, optimizer)
    if not begun:
        student.begin(examples)
    output = pair.draft_model.model.get_output_embeddings().weight.detach().float().cpu()  # students are on the CPU
    frequent = frequent_tokens([example.chat for example in examples], len(output))
    losses, overlaps, since = [], [], time.monotonic()
    for batch in range(begun, plan.batches):
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + batch)
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(batch)
        picked = random.Random(f"{plan.seed} {batch}").sample(examples, min(plan.chats, len(examples)))
        hidden = student.hidden(picked, generator)
        loss, overlap = _loss(hidden, output, picked, frequent, generator, plan, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters.values(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        overlaps.append(overlap)
        done = batch + 1
        if done % SAVE_EVERY == 0 or done == plan.batches:
            _save_state(state, plan, done, student, optimizer)
            now = time.monotonic()
            report(Progress(done, plan.batches, float(np.mean(losses)), float(np.mean(overlaps)), now - since))
            losses, overlaps, since = [], [], now
            if _shards(folder) != shards:  # another process has written more chats meanwhile
                shards, examples = _shards(folder), student.read(folder)
    return student.write(folder / "draft")


def frequent_tokens(chats: Sequence[Chat], vocabulary: int) -> torch.Tensor:
    """[FREQUENT] ids of the tokens that the target finds likeliest over all chats, in order of id."""
    mass = np.zeros(vocabulary, dtype=np.float64)
    for chat in chats:
        np.add.at(mass, chat.ids.ravel(), chat.probs.ravel().astype(np.float64))
    return torch.tensor(np.sort(np.argsort(-mass, kind="stable")[:FREQUENT]).copy())


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("chats-*.npz"))


def _loss(
    hidden: torch.Tensor,
    head: torch.Tensor,
    examples: Sequence[Example],
    frequent: torch.Tensor,
    generator: torch.Generator,
    plan: TrainingPlan,
    batch: int,
) -> tuple[torch.Tensor, float]:
    chats = [example.chat for example in examples]
    others = torch.ones(head.shape[0], dtype=torch.bool)
    others[frequent] = False
    rest = others.nonzero()[:, 0]
    sampled = rest[torch.randperm(len(rest), generator=generator)[:SAMPLED]]
    logits = hidden @ head[frequent].T
    normalizer = logits.logsumexp(-1)
    if len(rest):
        stand_ins = hidden @ head[sampled].T + math.log(len(rest) / len(sampled))
        normalizer = torch.logaddexp(normalizer, stand_ins.logsumexp(-1))
    places = torch.full((head.shape[0],), -1, dtype=torch.long)
    places[frequent] = torch.arange(len(frequent))
    likely = places[torch.from_numpy(np.concatenate([chat.ids for chat in chats]).astype(np.int64))]
    p = torch.from_numpy(np.concatenate([chat.probs for chat in chats]).astype(np.float32)) * (likely >= 0)
    log_q = logits.gather(1, likely.clamp(min=0)) - normalizer[:, None]
    q = log_q.exp() * (likely >= 0)
    p_rest = (1 - p.sum(-1)).clamp(min=0)
    log_q_rest = torch.log((1 - q.sum(-1)).clamp(min=1e-4))
    loss = -((p * log_q).sum(-1) + p_rest * log_q_rest).mean()
    overlap = torch.minimum(p, q).sum(-1).mean()
    if batch >= plan.distance_from * plan.batches:
        loss = 0.2 * loss + 2.0 * (1 - overlap)
    return loss, float(overlap.detach())


# --------------------------------------------------------------------------------------------------------- files


def _save_state(state: Path, plan: TrainingPlan, done: int, student: Student, optimizer: torch.optim.Optimizer) -> None:
    tensors = {f"fixed {name}": tensor.contiguous() for name, tensor in student.fixed.items()}
    for name, parameter in student.parameters.items():
        tensors[f"weight {name}"] = parameter.detach().contiguous()
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key} {name}"] = optimizer.state[parameter][key].contiguous()
    state.mkdir(parents=True, exist_ok=True)
    partial = state / "state.part"
    save_file(tensors, partial, metadata={"plan": json.dumps(asdict(plan)), "done": str(done)})
    os.replace(partial, state / "state.safetensors")


def _resume(state: Path, plan: TrainingPlan, student: Student, optimizer: torch.optim.Optimizer) -> int:
    from safetensors import safe_open

    path = state / "state.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        known = file.metadata()
    if json.loads(known["plan"]) != json.loads(json.dumps(asdict(plan))):
        raise ModelError(f"The training in {str(state)!r} has another plan; finish it with that one or remove it.")
    tensors = load_file(path)
    done = int(known["done"])
    with torch.no_grad():
        for name, tensor in student.fixed.items():
            tensor.copy_(tensors[f"fixed {name}"])
        for name, parameter in student.parameters.items():
            parameter.copy_(tensors[f"weight {name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(done)),
                "exp_avg": tensors[f"exp_avg {name}"],
                "exp_avg_sq": tensors[f"exp_avg_sq {name}"],
            }
    return done
