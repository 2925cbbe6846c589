"""Training the built-in draft: a small Llama that learns the target's distribution on chats the target wrote.

The loss is the cross-entropy against the target's most likely tokens and the lump of all others, then mostly the total
variation distance itself, whose complement ``sum(min(p, q))`` is the probability that a drafted token is accepted
(DistillSpec, arXiv 2310.08461). Most of the work is the output head. So its normalizer is taken over the tokens that
the target uses most and a fresh sample of the others, each standing for many.

Of a draft that reads the target's hidden states the head alone is trained, see :mod:`specviz.train.head`.
"""

from __future__ import annotations

import copy
import json
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from specviz.errors import ModelError
from specviz.models.hidden_state_head import CONFIG_KEY, FILE, HiddenStateHead
from specviz.models.loading import Pair
from specviz.train.chats import Chat, read_chats

FREQUENT = 6144
"""Tokens whose logits are always computed."""
SAMPLED = 1536
"""Tokens drawn among the others at every batch."""
SAVE_EVERY = 100
LARGEST_FILE = 9_000_000
"""Bytes, so that the repository can be pushed to a Space without large-file storage."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast. A training is gone on with only under the plan it was begun with.

    Attributes:
        layers: of the draft; more than it starts with are put between its first and last.
        batches: optimizer steps in all.
        chats: in a batch.
        rate: highest learning rate, reached after ``warmup`` batches and followed by a cosine to a twentieth of it.
        distance_from: part of the batches after which the total variation distance joins the loss.
        reads: the target's layers that the draft's head reads, in which case that head is trained and the layers stay;
            empty to train the layers.
        width: of the head's perceptron.
    """

    layers: int = 2
    batches: int = 1900
    chats: int = 8
    rate: float = 4e-4
    warmup: int = 100
    distance_from: float = 0.3
    seed: int = 0
    reads: tuple[int, ...] = ()
    width: int = 768

    def rate_at(self, batch: int) -> float:
        """Learning rate of batch number ``batch``."""
        if batch < self.warmup:
            return self.rate * (batch + 1) / self.warmup
        part = (batch - self.warmup) / max(1, self.batches - self.warmup)
        return self.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, part))))


HEAD_PLAN = Plan(batches=800, rate=1.5e-4, warmup=30, distance_from=0.0)
"""For a head, which starts as a good fit: what is more hurried destroys it."""


@dataclass(frozen=True)
class Progress:
    """What the last batches were like: mean loss in nats and mean overlap with the target on its likely tokens."""

    batch: int
    batches: int
    loss: float
    overlap: float
    seconds: float


@dataclass(frozen=True)
class Example:
    """A chat, and the target's hidden states [tokens of the chat, w] for a head that reads them."""

    chat: Chat
    states: np.ndarray | None = None


class Student(Protocol):
    """What is trained: parts of a draft model."""

    parameters: dict[str, torch.nn.Parameter]
    fixed: dict[str, torch.Tensor]
    """What ``begin`` found and nobody trains, but a training that is gone on with needs."""

    def read(self, folder: Path) -> list[Example]:
        """The chats in the folder, with all that this student needs of them."""
        ...

    def begin(self, examples: Sequence[Example]) -> None:
        """Called once before the first batch, and not when a training is gone on with."""
        ...

    def hidden(self, examples: Sequence[Example], generator: torch.Generator) -> torch.Tensor:
        """What the output head reads at every place of the replies, chat after chat: [places, d]."""
        ...

    def write(self, folder: Path) -> Path:
        """Write the draft as ``assets/draft`` has it."""
        ...


class LayerStudent:
    """The draft's layers, for a draft that reads nothing but tokens."""

    def __init__(self, pair: Pair, plan: Plan):
        self._model = grown(pair, plan.layers)
        self._model.train().requires_grad_(False)
        self.parameters = {n: p for n, p in self._model.model.named_parameters() if not n.startswith("embed_tokens")}
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self.fixed: dict[str, torch.Tensor] = {}

    def read(self, folder: Path) -> list[Example]:
        """The chats."""
        return [Example(chat) for chat in read_chats(folder)]

    def begin(self, examples: Sequence[Example]) -> None:
        """Nothing: the layers are there already."""

    def hidden(self, examples: Sequence[Example], generator: torch.Generator) -> torch.Tensor:  # noqa: ARG002
        """The last hidden states; nothing is drawn."""
        ids, places = side_by_side([example.chat for example in examples])
        out: torch.Tensor = self._model.model(input_ids=ids, use_cache=False).last_hidden_state[places]
        return out

    def write(self, folder: Path) -> Path:
        """The trained layers."""
        return write_draft(self._model, folder)


def train(pair: Pair, folder: Path, plan: Plan, report: Callable[[Progress], None]) -> Path:
    """Train the draft of ``pair`` on the chats in ``folder``; goes on where an earlier call stopped.

    Returns:
        The folder with the trained draft, in the form of ``assets/draft``.

    Raises:
        ModelError: if there are no chats, or the training that is there has another plan.
    """
    state = folder / "training"
    pair.draft.model.requires_grad_(False)
    student = _student(pair, plan)
    # Listed first: a shard that comes while the others are read is seen as new.
    shards, examples = _shards(folder), student.read(folder)
    optimizer = torch.optim.AdamW(student.parameters.values(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.05)
    begun = _resume(state, plan, student, optimizer)
    if not begun:
        student.begin(examples)
    output = pair.draft.model.get_output_embeddings().weight.detach().float().cpu()  # students are on the CPU
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
            if _shards(folder) != shards:  # somebody goes on writing chats meanwhile
                shards, examples = _shards(folder), student.read(folder)
    return student.write(folder / "draft")


def _student(pair: Pair, plan: Plan) -> Student:
    if not plan.reads:
        return LayerStudent(pair, plan)
    from specviz.train.head import HeadStudent

    return HeadStudent(pair, plan)


def grown(pair: Pair, layers: int) -> Any:
    """A copy of the pair's draft with ``layers`` layers; new ones are the target's early ones and add nothing yet."""
    draft, target = pair.draft.model, pair.target.model
    old = draft.config.num_hidden_layers
    if layers < old:
        raise ModelError(f"The draft has {old} layers already; ask for that many or more.")
    config = copy.deepcopy(draft.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[0]] * layers
    model = type(draft)(config).float()
    names = dict(model.state_dict())
    for name, value in draft.state_dict().items():
        # The last layer stays the last: what it writes is read by the head.
        moved = name.replace(f"layers.{old - 1}.", f"layers.{layers - 1}.") if old > 1 else name
        names[moved].copy_(value)
    for new in range(old - 1, layers - 1):
        model.model.layers[new].load_state_dict(target.model.layers[new].state_dict())
        torch.nn.init.zeros_(model.model.layers[new].self_attn.o_proj.weight)
        torch.nn.init.zeros_(model.model.layers[new].mlp.down_proj.weight)
    return model


def frequent_tokens(chats: Sequence[Chat], vocabulary: int) -> torch.Tensor:
    """[FREQUENT] ids of the tokens that the target finds likeliest over all chats, in order of id."""
    mass = np.zeros(vocabulary, dtype=np.float64)
    for chat in chats:
        np.add.at(mass, chat.ids.ravel(), chat.probs.ravel().astype(np.float64))
    return torch.tensor(np.sort(np.argsort(-mass, kind="stable")[:FREQUENT]).copy())


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("chats-*.npz"))


def side_by_side(chats: Sequence[Chat]) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Token ids [chats, width], padded on the right, where causal attention never looks; and (rows, columns) of all
    places at which a reply token is predicted, chat after chat."""
    width = max(len(chat.prompt) + len(chat.reply) for chat in chats) - 1
    ids = torch.zeros(len(chats), width, dtype=torch.long)
    rows, columns = [], []
    for row, chat in enumerate(chats):
        tokens = np.concatenate([chat.prompt, chat.reply])[:-1]
        ids[row, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
        columns.append(torch.arange(len(chat.prompt) - 1, len(tokens)))
        rows.append(torch.full_like(columns[-1], row))
    return ids, (torch.cat(rows), torch.cat(columns))


def _loss(
    hidden: torch.Tensor,
    head: torch.Tensor,
    examples: Sequence[Example],
    frequent: torch.Tensor,
    generator: torch.Generator,
    plan: Plan,
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


def write_draft(model: Any, folder: Path, head: HiddenStateHead | None = None) -> Path:
    """Write layers, final norm, config and head as ``assets/draft`` has them: half precision, small files."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    tensors = {
        name: tensor.detach().half().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(("model.embed_tokens", "lm_head"))
    }
    groups: list[dict[str, torch.Tensor]] = [{}]
    for number in range(model.config.num_hidden_layers):
        layer = {name: tensor for name, tensor in tensors.items() if f".layers.{number}." in name}
        if groups[-1] and _bytes(groups[-1]) + _bytes(layer) > LARGEST_FILE:
            groups.append({})
        groups[-1] |= layer
    groups[-1] |= {name: tensor for name, tensor in tensors.items() if ".layers." not in name}
    for i, group in enumerate(groups):
        save_file(group, folder / f"layers-{i + 1:05d}-of-{len(groups):05d}.safetensors")
    config = model.config.to_dict() | {"dtype": "float16"}
    for key in ("layer_types", CONFIG_KEY, "_name_or_path"):  # the last is a path of this machine
        config.pop(key, None)
    if head:
        config[CONFIG_KEY] = list(head.layers)
        # Means and spreads differ by orders of magnitude, and are few.
        weights = {n: x.half() if n.endswith("weight") else x for n, x in head.state_dict().items()}
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / FILE)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def _bytes(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _save_state(state: Path, plan: Plan, done: int, student: Student, optimizer: torch.optim.Optimizer) -> None:
    tensors = {f"fixed {name}": tensor.contiguous() for name, tensor in student.fixed.items()}
    for name, parameter in student.parameters.items():
        tensors[f"weight {name}"] = parameter.detach().contiguous()
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key} {name}"] = optimizer.state[parameter][key].contiguous()
    state.mkdir(parents=True, exist_ok=True)
    partial = state / "state.part"
    save_file(tensors, partial, metadata={"plan": json.dumps(asdict(plan)), "done": str(done)})
    os.replace(partial, state / "state.safetensors")


def _resume(state: Path, plan: Plan, student: Student, optimizer: torch.optim.Optimizer) -> int:
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
