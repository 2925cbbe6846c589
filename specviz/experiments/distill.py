"""Training the built-in draft: a small Llama that learns the target's distribution on chats the target wrote.

The loss is the cross-entropy against the target's most likely tokens and the lump of all others, then mostly the total
variation distance itself, whose complement ``sum(min(p, q))`` is the probability that a drafted token is accepted
(DistillSpec, arXiv 2310.08461). Most of the work is the output head. So its normalizer is taken over the tokens that
the target uses most and a fresh sample of the others, each standing for many.

A draft that reads the target's hidden states (:mod:`specviz.models.features`) meets them as it will in a tree: in every
second chat half of the tokens come with the draft's own last hidden state instead.
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
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from specviz.errors import ModelError
from specviz.experiments.chats import Chat, read_chats, read_states, write_states
from specviz.models.features import CONFIG_KEY, FILE, FeatureReader
from specviz.models.loading import Pair

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
        reads: the target's layers that the draft reads; empty for a draft that reads tokens alone.
        map_rate: learning rate of the maps from hidden states, in units of the layers'.
    """

    layers: int = 3
    batches: int = 2400
    chats: int = 8
    rate: float = 4e-4
    warmup: int = 100
    distance_from: float = 0.3
    seed: int = 0
    reads: tuple[int, ...] = ()
    map_rate: float = 0.4

    def rate_at(self, batch: int) -> float:
        """Learning rate of batch number ``batch``."""
        if batch < self.warmup:
            return self.rate * (batch + 1) / self.warmup
        part = (batch - self.warmup) / max(1, self.batches - self.warmup)
        return self.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, part))))


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
    """A chat, and the target's hidden states [tokens of the chat, w] for a draft that reads them."""

    chat: Chat
    states: np.ndarray | None


def train(pair: Pair, folder: Path, plan: Plan, report: Callable[[Progress], None]) -> Path:
    """Train the draft of ``pair`` on the chats in ``folder``; goes on where an earlier call stopped.

    Returns:
        The folder with the trained layers, in the form of ``assets/draft``.

    Raises:
        ModelError: if there are no chats, or the training that is there has another plan.
    """
    state = folder / "training"
    examples = _examples(pair, folder, plan)
    shards = _shards(folder)
    model = grown(pair, plan.layers)
    reader = first_reader(pair, model, plan, examples)
    frequent = frequent_tokens([example.chat for example in examples], model.config.vocab_size)
    layers = {name: p for name, p in model.model.named_parameters() if not name.startswith("embed_tokens")}
    maps = {"from_target": reader.from_target, "from_draft": reader.from_draft} if reader else {}
    parameters = layers | maps
    pair.draft.model.requires_grad_(False)
    model.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    groups = [{"params": list(layers.values()), "part": 1.0}, {"params": list(maps.values()), "part": plan.map_rate}]
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.05)
    begun = _resume(state, plan, parameters, optimizer)
    head = model.get_output_embeddings().weight
    losses, overlaps, since = [], [], time.monotonic()
    model.train()
    for batch in range(begun, plan.batches):
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + batch)
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(batch) * group["part"]
        picked = random.Random(f"{plan.seed} {batch}").sample(examples, min(plan.chats, len(examples)))
        loss, overlap = _loss(model.model, reader, head, picked, frequent, generator, plan, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        overlaps.append(overlap)
        done = batch + 1
        if done % SAVE_EVERY == 0 or done == plan.batches:
            _save_state(state, plan, done, parameters, optimizer)
            now = time.monotonic()
            report(Progress(done, plan.batches, float(np.mean(losses)), float(np.mean(overlaps)), now - since))
            losses, overlaps, since = [], [], now
            if _shards(folder) != shards:  # somebody goes on writing chats meanwhile
                examples, shards = _examples(pair, folder, plan), _shards(folder)
    model.eval()
    return write_layers(model, folder / "draft", reader)


def _examples(pair: Pair, folder: Path, plan: Plan) -> list[Example]:
    chats = list(read_chats(folder))
    if not plan.reads:
        return [Example(chat, None) for chat in chats]
    write_states(pair, folder, plan.reads)
    return [Example(*both) for both in zip(chats, read_states(folder, plan.reads), strict=True)]


def first_reader(pair: Pair, model: Any, plan: Plan, examples: Sequence[Example]) -> FeatureReader | None:
    """The maps to begin with: the draft's own if it reads the same layers, else such that they add nothing yet."""
    if not plan.reads:
        return None
    if pair.draft.reader and pair.draft.reader.layers == plan.reads:
        tensors = {name: tensor.float().cpu().clone() for name, tensor in pair.draft.reader.tensors().items()}
        return FeatureReader(plan.reads, **tensors)
    # The first place of a text is unlike all others, so it has no say.
    some = np.concatenate([example.states[1::5] for example in examples[:200] if example.states is not None])
    rows = torch.from_numpy(some).float()
    own = model.config.hidden_size
    return FeatureReader(
        layers=plan.reads,
        from_target=torch.zeros(own, rows.shape[1]),
        from_draft=torch.zeros(own, own),
        mean=rows.mean(0),
        spread=rows.std(0).clamp(min=1e-6),
    )


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


def _loss(
    body: Any,
    reader: FeatureReader | None,
    head: torch.Tensor,
    examples: Sequence[Example],
    frequent: torch.Tensor,
    generator: torch.Generator,
    plan: Plan,
    batch: int,
) -> tuple[torch.Tensor, float]:
    chats = [example.chat for example in examples]
    width = max(len(chat.prompt) + len(chat.reply) for chat in chats) - 1
    ids = torch.zeros(len(chats), width, dtype=torch.long)
    rows, columns = [], []
    for row, chat in enumerate(chats):
        tokens = np.concatenate([chat.prompt, chat.reply])[:-1]
        ids[row, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
        columns.append(torch.arange(len(chat.prompt) - 1, len(tokens)))
        rows.append(torch.full_like(columns[-1], row))
    # Padding stands on the right, where causal attention never looks.
    embeddings = body.embed_tokens(ids)
    if reader:
        embeddings = embeddings + _added(body, reader, embeddings, examples, generator)
    hidden = body(inputs_embeds=embeddings, use_cache=False).last_hidden_state[torch.cat(rows), torch.cat(columns)]
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


def _added(
    body: Any,
    reader: FeatureReader,
    embeddings: torch.Tensor,
    examples: Sequence[Example],
    generator: torch.Generator,
) -> torch.Tensor:
    """What hidden states add to the embeddings [chats, width, d]: the target's, or the draft's own as in a tree."""
    chats, width, _ = embeddings.shape
    states = torch.zeros(chats, width, len(reader.mean))
    for row, example in enumerate(examples):
        assert example.states is not None
        known = torch.from_numpy(example.states[: width - 1].astype(np.float32))
        states[row, 1 : 1 + len(known)] = known
    added = reader.read(states)
    added[:, 0] = 0  # nothing stands before the first token
    with torch.no_grad():
        own = body(inputs_embeds=embeddings[1::2] + added[1::2], use_cache=False).last_hidden_state
    guesses = torch.zeros_like(embeddings)
    guesses[1::2, 1:] = own[:, :-1]
    guessed = torch.rand(chats, width, generator=generator) < 0.5
    guessed[::2] = False
    return torch.where(guessed[..., None], reader.feed_back(guesses), added)


# --------------------------------------------------------------------------------------------------------- files


def write_layers(model: Any, folder: Path, reader: FeatureReader | None = None) -> Path:
    """Write layers, final norm and config as ``assets/draft`` has them: half precision, no file above LARGEST_FILE."""
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
    config.pop("layer_types", None)
    config.pop(CONFIG_KEY, None)
    if reader:
        config[CONFIG_KEY] = list(reader.layers)
        maps = {name: tensor.detach() for name, tensor in reader.tensors().items()}
        save_file({name: x.half() if x.ndim == 2 else x for name, x in maps.items()}, folder / FILE)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def _bytes(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _save_state(
    state: Path, plan: Plan, done: int, parameters: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer
) -> None:
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"weight {name}"] = parameter.detach().contiguous()
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key} {name}"] = optimizer.state[parameter][key].contiguous()
    state.mkdir(parents=True, exist_ok=True)
    partial = state / "state.part"
    save_file(tensors, partial, metadata={"plan": json.dumps(asdict(plan)), "done": str(done)})
    os.replace(partial, state / "state.safetensors")


def _resume(state: Path, plan: Plan, parameters: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> int:
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
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight {name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(done)),
                "exp_avg": tensors[f"exp_avg {name}"],
                "exp_avg_sq": tensors[f"exp_avg_sq {name}"],
            }
    return done
