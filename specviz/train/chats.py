"""Training data of a draft: chats that its target wrote, with the target's likeliest tokens at every place.

A *shard* is one batch of chats in one ``.npz`` file. Its prompts and its random seed follow from its number alone, so
making shards can be stopped and continued at any time, and two machines can make different ones.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from specviz.errors import ModelError
from specviz.models.generating import generate
from specviz.models.loading import Pair
from specviz.models.target_states import plain_states

TOP = 96
"""How many of the target's most likely tokens are kept at every place."""
BATCH = 48
HALF_MAX = 60_000.0
"""Largest number kept of a hidden state; half precision ends at 65,504."""
REPLY_TOKENS = 192
TEMPERATURES = (1.0, 1.0, 0.7)
"""Taken in turn, so that the draft also sees the calmer texts that people ask for."""

_TOPICS = """
a lighthouse, tides, the alphabet, an old clock, apple trees, a desert town, thunderstorms, sourdough bread, the
piano, a talking fox, volcanoes, rivers, the moon, glass making, honey bees, owls, a lost key, train stations, chess,
paper, Roman roads, the Silk Road, pyramids, Vikings, the printing press, medieval castles, explorers, old maps, steam
engines, photosynthesis, cells, vaccines, sleep, the heart, memory, bones, nutrition, allergies, exercise, stress,
gravity, atoms, magnets, light, sound waves, black holes, comets, Mars, satellites, the seasons, fractions,
probability, prime numbers, triangles, averages, percentages, equations, graphs, binary numbers, logic puzzles, Python
lists, recursion, sorting, databases, web pages, passwords, spreadsheets, robots, open source, computer networks, job
interviews, saving money, public speaking, time management, writing emails, moving house, learning a language, a first
bicycle, gardening, cooking rice, soup, picnics, camping, hiking boots, swimming, photography, painting, jazz, poetry,
museums, theatre, friendship, neighbours, grandparents, birthdays, a rainy weekend, a school trip, kindness
"""
TOPICS = " ".join(_TOPICS.split()).split(", ")
_HELD_OUT_TOPICS = """
a snail, bridges, whales, rainbows, violins, inflation, insects, the library, elections, coffee
"""
HELD_OUT_TOPICS = " ".join(_HELD_OUT_TOPICS.split()).split(", ")
FORMS = (
    "Explain {} in simple words.",
    "Tell me a short story about {}.",
    "Write a poem about {}.",
    "Give me five facts about {}.",
    "Why do people care about {}?",
    "What is the most common mistake people make with {}?",
    "Write a letter to a friend about {}.",
    "Summarize the history of {} in a few sentences.",
    "How would you teach {} to a child?",
    "Make a list of steps for getting started with {}.",
    "What are the advantages and disadvantages of {}?",
    "Write a conversation between two people who disagree about {}.",
    "Write a short news report about {}.",
    "Ask me three questions about {} and answer them.",
    "Describe {} to somebody who has never seen it.",
    "Write a small Python program that has to do with {}.",
    "Translate this into French: I have been thinking about {} all day.",
    "Rewrite this more politely: I do not want to hear about {} any more.",
    "What would the world be like without {}?",
    "Compare {} with something very different.",
    "Write an advertisement for {}.",
    "What should a beginner know about {}?",
)


@dataclass(frozen=True)
class Chat:
    """One chat.

    Attributes:
        prompt: [m] token ids, the chat template included.
        reply: [n] token ids.
        ids: [n, TOP] the target's most likely tokens at the place of every reply token, before it was drawn.
        probs: [n, TOP] their probabilities at temperature 1; what is missing to 1 lies on other tokens.
    """

    prompt: np.ndarray
    reply: np.ndarray
    ids: np.ndarray
    probs: np.ndarray


def prompts(held_out: bool) -> list[str]:
    """All prompts of a split, in a fixed shuffled order. The splits share forms and no topic."""
    topics = HELD_OUT_TOPICS if held_out else TOPICS
    made = [form.format(topic) for topic in topics for form in FORMS]
    random.Random(7).shuffle(made)
    return made


def shard_path(folder: Path, number: int, held_out: bool) -> Path:
    return folder / f"{'held-out' if held_out else 'chats'}-{number:05d}.npz"


def write_shard(pair: Pair, folder: Path, number: int, *, held_out: bool = False) -> int:
    """Let the target write the chats of shard ``number``; returns the reply tokens, 0 if the shard is there."""
    path = shard_path(folder, number, held_out)
    if path.exists():
        return 0
    everything = prompts(held_out)
    chosen = [everything[(number * BATCH + i) % len(everything)] for i in range(BATCH)]
    temperature = 1.0 if held_out else TEMPERATURES[number % len(TEMPERATURES)]
    chats = _generate(pair, chosen, temperature, seed=2 * number + held_out)
    arrays = {
        f"{name}{i}": getattr(chat, name)
        for i, chat in enumerate(chats)
        for name in ("prompt", "reply", "ids", "probs")
    }
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(partial, path)
    return sum(len(chat.reply) for chat in chats)


def write_states(pair: Pair, folder: Path, layers: tuple[int, ...]) -> int:
    """Keep the target's hidden states at every place of the chats in ``folder``, for a draft that reads them.

    One file a shard, [places, len(layers) * hidden size] in half precision, the chats one after another: a token takes
    kilobytes, so it is read from the disk when it is needed.

    Returns:
        How many files were written; those that are there already are kept.
    """
    written = 0
    for path in sorted(folder.glob("chats-*.npz")):
        states = states_path(path, layers)
        if states.exists():
            continue
        rows = []
        with torch.inference_mode():
            for chat in _read(path):
                ids = torch.from_numpy(np.concatenate([chat.prompt, chat.reply]).astype(np.int64))[None]
                kept = plain_states(pair.target.model, ids.to(pair.target.device), layers).float()
                rows.append(kept.clamp(-HALF_MAX, HALF_MAX).half().cpu().numpy())
        partial = states.with_suffix(".part")
        with open(partial, "wb") as file:
            np.save(file, np.concatenate(rows), allow_pickle=False)
        os.replace(partial, states)
        written += 1
    return written


def states_path(shard: Path, layers: tuple[int, ...]) -> Path:
    """Where the states of a shard lie."""
    return shard.with_name(f"states-{'-'.join(map(str, layers))}-{shard.stem}.npy")


def read_states(folder: Path, layers: tuple[int, ...]) -> Iterator[tuple[Chat, np.ndarray]]:
    """The chats with the target's states [m + n, len(layers) * hidden size] there, left on the disk.

    A shard without states, which was written after the call of :func:`write_states`, is left out.

    Raises:
        ModelError: if there are no chats.
    """
    for path in _shards(folder, held_out=False):
        states = states_path(path, layers)
        if not states.exists():
            continue
        everything = np.load(states, mmap_mode="r", allow_pickle=False)
        start = 0
        for chat in _read(path):
            places = len(chat.prompt) + len(chat.reply)
            yield chat, everything[start : start + places]
            start += places


def read_chats(folder: Path, *, held_out: bool = False) -> Iterator[Chat]:
    """All chats of a split, shard by shard.

    Raises:
        ModelError: if there are none.
    """
    for path in _shards(folder, held_out):
        yield from _read(path)


def _shards(folder: Path, held_out: bool) -> list[Path]:
    paths = sorted(folder.glob(f"{'held-out' if held_out else 'chats'}-*.npz"))
    if not paths:
        raise ModelError(f"There are no chats in {str(folder)!r}; write some with train-draft --shards first.")
    return paths


def _read(path: Path) -> Iterator[Chat]:
    with np.load(path, allow_pickle=False) as arrays:
        for i in range(sum(name.startswith("reply") for name in arrays.files)):
            yield Chat(*(arrays[f"{name}{i}"] for name in ("prompt", "reply", "ids", "probs")))


def _generate(pair: Pair, texts: list[str], temperature: float, seed: int) -> list[Chat]:
    device = pair.target.device
    encoded = [pair.encode(text, True) for text in texts]
    width = max(len(tokens) for tokens in encoded)
    end = min(pair.eos_ids, default=0)
    ids = torch.tensor([[end] * (width - len(tokens)) + tokens for tokens in encoded], device=device)
    mask = torch.tensor([[0] * (width - len(tokens)) + [1] * len(tokens) for tokens in encoded], device=device)
    torch.manual_seed(seed)  # generate draws from the global generator
    with torch.inference_mode():
        output = generate(
            pair.target.model,
            ids,
            pair.eos_ids,
            mask=mask,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            max_new_tokens=REPLY_TOKENS,
            return_dict_in_generate=True,
            output_logits=True,
        )
        replies = output.sequences[:, width:].tolist()
        tops = [torch.softmax(logits.float(), -1).topk(TOP) for logits in output.logits]
    top_ids = torch.stack([top.indices for top in tops], 1).cpu().numpy().astype(np.int32)
    top_probs = torch.stack([top.values for top in tops], 1).cpu().numpy().astype(np.float16)
    chats = []
    for row, tokens in enumerate(encoded):
        reply = replies[row]
        length = next((i + 1 for i, token in enumerate(reply) if token in pair.eos_ids), len(reply))
        chats.append(
            Chat(
                np.array(tokens, dtype=np.int32),
                np.array(reply[:length], dtype=np.int32),
                top_ids[row, :length],
                top_probs[row, :length],
            )
        )
    return chats
