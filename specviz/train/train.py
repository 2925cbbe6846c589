"""Training a draft: a small Llama that learns the target's distribution on chats the target wrote.

The loss is the cross-entropy against the target's most likely tokens and the lump of all others, then mostly the total
variation distance itself, whose complement ``sum(min(p, q))`` is the probability that a drafted token is accepted
(DistillSpec, arXiv 2310.08461).

What is trained is the draft's layers (:mod:`specviz.train.layers`), of a draft that reads the target's hidden states
its head alone (:mod:`specviz.train.head`), or a head of EAGLE-3's kind (:mod:`specviz.train.eagle3`). A training that
was stopped goes on from its last saved state.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from specviz.errors import ModelError
from specviz.models.loading import Pair
from specviz.train.choices import OWN
from specviz.train.eagle3 import Eagle3Student
from specviz.train.head import HeadStudent
from specviz.train.layers import LayerStudent
from specviz.train.student import Student, TrainingPlan

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
        The folder with the trained draft, in the form of ``assets/draft``, or of speculators for a head of EAGLE-3's
        kind.

    Raises:
        ModelError: if there are no chats, or the training that is there has another plan.
    """
    name = "" if plan.format == OWN else f"-{plan.format}"
    state = folder / f"training{name}"
    pair.draft_model.model.requires_grad_(False)
    pair.target.model.requires_grad_(False)
    student = _student(pair, plan)
    # Listed first: a shard that comes while the others are read is seen as new.
    shards, examples = _shards(folder), student.read(folder)
    optimizer = torch.optim.AdamW(student.parameters.values(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.05)
    begun = _resume(state, plan, student, optimizer)
    if not begun:
        student.begin(examples)
    student.prepare(examples)
    losses, overlaps, since = [], [], time.monotonic()
    for batch in range(begun, plan.batches):
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + batch)
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(batch)
        picked = random.Random(f"{plan.seed} {batch}").sample(examples, min(plan.chats, len(examples)))
        optimizer.zero_grad(set_to_none=True)
        loss, overlap = student.backward(picked, generator, batch)
        torch.nn.utils.clip_grad_norm_(student.parameters.values(), 1.0)
        optimizer.step()
        losses.append(loss)
        overlaps.append(overlap)
        done = batch + 1
        if done % SAVE_EVERY == 0 or done == plan.batches:
            _save_state(state, plan, done, student, optimizer)
            now = time.monotonic()
            report(Progress(done, plan.batches, float(np.mean(losses)), float(np.mean(overlaps)), now - since))
            losses, overlaps, since = [], [], now
            if _shards(folder) != shards:  # another process has written more chats meanwhile
                shards, examples = _shards(folder), student.read(folder)
    return student.write(folder / f"draft{name}")


def check_plan(pair: Pair, plan: TrainingPlan) -> None:
    """Raise what :func:`train` would raise without a look at any chat.

    Raises:
        ModelError, SettingsError: for a plan that this pair cannot be trained under.
    """
    _student(pair, plan)


def _student(pair: Pair, plan: TrainingPlan) -> Student:
    if plan.format != OWN:
        return Eagle3Student(pair, plan)
    return HeadStudent(pair, plan) if plan.reads else LayerStudent(pair, plan)


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("chats-*.npz"))


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
    # What a plan of an earlier version does not say had its default.
    if {**asdict(TrainingPlan()), **json.loads(known["plan"])} != json.loads(json.dumps(asdict(plan))):
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
                "exp_avg": tensors[f"exp_avg {name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"exp_avg_sq {name}"].to(parameter.device),
            }
    return done
