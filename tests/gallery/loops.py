"""The loops behind the gallery of faults, with the fault and without: one for each of :data:`specviz.gallery.FAULTS`.

Most are the loops of docs/examples with a few lines written otherwise. ``sound`` are the lines that the loop needs to
have such a place at all (positions that are said, an end of sequence, another rule); ``fault`` are the wrong ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch

import specviz
from specviz import Recorder
from specviz.models.head_model import HeadModel
from specviz.models.heads import eagle3
from specviz.models.heads.eagle3 import Eagle3Head
from specviz.models.heads.layers import rotary
from specviz.models.loading import head_model
from specviz.trace.schema import Trace
from tests import head_files, pairs, tiny
from tests.paths import ROOT
from tests.recorder import loops
from tests.recorder.shapes import spec_tree, toy

HEAD_LOOP = ROOT / "tests" / "gallery" / "head_loop.py"
Lines = tuple[tuple[str, str], ...]
"""What stands in an example, and what is written instead."""


@dataclass(frozen=True)
class Pair:
    """What a loop decodes with.

    Attributes:
        end: the token that ends a text.
        stop: one that often is within a step, for texts of the loop that looks for it.
    """

    target: Any
    draft: Any
    prompt: list[int]
    decode: Callable[[list[int]], str] | None = None
    end: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Example:
    """A loop of docs/examples.

    Attributes:
        said: arguments of the recorder that are not those of every loop.
    """

    example: str
    fault: Lines
    sound: Lines = ()
    temperature: float = 0.7
    said: Mapping[str, Any] = field(default_factory=dict)
    stops: bool = False

    def record(self, pair: Pair, faulty: bool, *, new_tokens: int, seed: int = 0) -> Trace:
        end = self._stop(pair, new_tokens, seed) if self.stops else pair.end
        decode = loops.changed(self.example, self.sound + (self.fault if faulty else ()), END=end)
        said = {"sampling": self.temperature, "rule": "rejection", "lossless": True, **self.said}
        rec = Recorder(
            prompt=pair.prompt,
            decode=pair.decode,
            draft_sampling=self.temperature,
            target=pair.target,
            draft=pair.draft,
            end_tokens=[end],
            strict=True,
            **said,
        )
        sizes = {"new_tokens": new_tokens, "temperature": self.temperature, "seed": seed}
        decode(pair.target, pair.draft, pair.prompt, rec, **sizes)
        return rec.trace()

    def _stop(self, pair: Pair, new_tokens: int, seed: int) -> int:
        """What texts end with: ``pair.stop``, or else a token that is accepted within a step where no text ends."""
        if pair.stop is not None:
            return pair.stop
        plain = replace(self, fault=(), stops=False)
        steps = plain.record(pair, False, new_tokens=new_tokens, seed=seed).steps
        found = [token for step in steps for token in step.committed[:-1]]
        assert found, "no draft was accepted; take another seed"
        return found[0]


@dataclass(frozen=True)
class HeadLoop:
    """The loop of head_loop.py, whose draft is a head of EAGLE-3's kind.

    Attributes:
        broken: what its loader got wrong, done to a copy of the head.
    """

    fault: Lines = ()
    broken: Callable[[Eagle3Head], None] | None = None

    def record(self, pair: Pair, faulty: bool, *, new_tokens: int, seed: int = 0) -> Trace:
        model: HeadModel = pair.draft
        head = model.head
        if faulty and self.broken is not None:
            head = copy.deepcopy(head)
            head.bind(pair.target)
            self.broken(head)
        decode = loops.changed(HEAD_LOOP, self.fault if faulty else ())
        rec = Recorder(
            prompt=pair.prompt,
            decode=pair.decode,
            sampling=0.7,
            draft_sampling=0.7,
            rule="rejection",
            lossless=True,
            target=pair.target,
            draft=model.info,
            end_tokens=[pair.end],
            strict=True,
        )
        decode(pair.target, head, pair.prompt, rec, new_tokens=new_tokens, seed=seed)
        return rec.trace()


def _flip_norm(head: Eagle3Head) -> None:
    head.body[0].norm_before_residual = not head.body[0].norm_before_residual


def _other_rope(head: Eagle3Head) -> None:
    config = copy.deepcopy(head.config)
    config.rope_parameters = {**config.rope_parameters, "rope_theta": config.rope_parameters["rope_theta"] / 100}
    head.rotary_emb = rotary(config)


def _no_embeddings(head: Eagle3Head) -> None:
    fresh = torch.nn.Embedding(head.inputs, head.config.hidden_size)
    with torch.no_grad():
        fresh.weight.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    head.embed_tokens = fresh.requires_grad_(False)


@dataclass(frozen=True)
class Sequoia:
    """The stand-in of Sequoia's ``SpecTree``, attached; it decodes with logits of its own."""

    def record(self, pair: Pair, faulty: bool, *, new_tokens: int, seed: int = 0) -> Trace:
        torch.manual_seed(4 + seed)
        with specviz.attach(spec_tree.SpecTree, strict=True) as rec:
            spec_tree.generate(spec_tree.SpecTree(toy.PROMPT, 0.8, early=faulty), new_tokens // 3)
        return rec.trace()


def _trial(name: str) -> Example:
    """One of the nine of the recorder's trial."""
    planted = loops.FAULTS[name]
    return Example(planted.example, ((planted.right, planted.wrong),))


_POSITIONS_OF_TARGET: Lines = (
    ("text = list(ids)", "text, position = list(ids), len(ids) - 1"),
    (
        "logits = target(input_ids=torch.tensor([tokens]), cache=target_cache).logits[0]",
        "at = torch.arange(position, position + len(tokens))\n"
        "            logits = target(input_ids=torch.tensor([tokens]), position_ids=at[None], cache=target_cache)\n"
        "            logits = logits.logits[0]",
    ),
    ("step.target(p, logits=logits)", "step.target(p, logits=logits, positions=at)"),
    ("            # Commit", "            position += len(accepted) + 1\n\n            # Commit"),
)
_POSITIONS_OF_DRAFT: Lines = (
    (
        "feed, tokens, q = text[drafted_from:], [text[-1]], []",
        "feed, tokens, q, at = text[drafted_from:], [text[-1]], [], []",
    ),
    (
        "logits = draft(input_ids=torch.tensor([feed]), cache=draft_cache).logits[0, -1]",
        "ids_at = torch.arange(len(feed)) + draft_cache.get_seq_length()\n"
        "                logits = draft(input_ids=torch.tensor([feed]), position_ids=ids_at[None], cache=draft_cache)\n"
        "                logits = logits.logits[0, -1]\n"
        "                at.append(int(ids_at[-1]))",
    ),
    ('proposal="without_replacement")', 'proposal="without_replacement", positions=at)'),
)
_KNOWN_TO_DRAFT: Lines = (
    ("text = list(ids)", "text, known = list(ids), len(ids) - 1"),
    ("text[drafted_from:]", "text[known:]"),
    (
        "kept = len(text) + len(accepted)",
        "kept = len(text) + len(accepted)\n            known = min(kept, len(text) + length - 1)",
    ),
)
_ENDS: Lines = (
    ("len(text) - len(ids) < new_tokens:", "len(text) - len(ids) < new_tokens and text[-1] != END:"),
    (
        "step.verify(accepted=accepted, bonus=bonus, coins=coins, thresholds=ratios, bonus_row=row)",
        "new = [tokens[node] for node in accepted] + [bonus]\n"
        "            new = new[: new.index(END) + 1] if END in new else new\n"
        "            step.verify(\n"
        "                accepted=accepted, bonus=bonus, coins=coins, thresholds=ratios, bonus_row=row, committed=new\n"
        "            )",
    ),
    ("text += [tokens[node] for node in accepted] + [bonus]", "text += new"),
    ('rec.end("max_new_tokens")', 'rec.end("end of sequence" if text[-1] == END else "max_new_tokens")'),
)
_ONLY_LIKELY: Lines = (
    (
        "p = distribution(logits, temperature)",
        "p = distribution(logits, temperature)\n"
        "            p = torch.where(p >= p.topk(5).values[:, -1:], p, 0)\n"
        "            p = p / p.sum(-1, keepdim=True)",
    ),
    ("torch.rand((), generator=luck).item()", "torch.randint(64, (), generator=luck).item() / 64"),
)
_TYPICAL: Lines = (
    (
        "coins[node] = torch.rand((), generator=luck).item()\n"
        "                ratios[node] = (p_row[token] / q_row[token]).item()\n"
        "                if coins[node] >= ratios[node]:\n"
        "                    row = (p_row - q_row).clamp(min=0)\n",
        "ratios[node] = min(0.3, 0.3 * p_row.pow(p_row).prod().item())\n"
        "                if p_row[token] <= ratios[node]:\n"
        "                    row = torch.where(p_row > ratios[node], p_row, 0)\n",
    ),
    (
        "row = p[-1]\n",
        "row = torch.where(p[-1] > min(0.3, 0.3 * p[-1].pow(p[-1]).prod().item()), p[-1], 0)\n"
        "                row = row / row.sum()\n",
    ),
    (
        "step.verify(accepted=accepted, bonus=bonus, coins=coins, thresholds=ratios, bonus_row=row)",
        "new = [tokens[node] for node in accepted] + [bonus]\n"
        "            step.verify(accepted=accepted, bonus=bonus, thresholds=ratios, bonus_row=row, committed=new)",
    ),
    ("kept = len(text) + len(accepted)", "kept = len(text) + len(new) - 1"),
    ("text += [tokens[node] for node in accepted] + [bonus]", "text += new"),
)

Loop = Example | HeadLoop | Sequoia


def without(loop: Loop) -> Loop:
    """The same loop for all faults of it."""
    if isinstance(loop, Example):
        return replace(loop, fault=())
    return HeadLoop() if isinstance(loop, HeadLoop) else loop


LOOPS: dict[str, Loop] = {
    "no-compaction": _trial("no compaction"),
    "positions-plus-one": _trial("positions + 1"),
    "positions-by-index": Example(
        "tree",
        (("[past + len(path) - 1 for path in paths]", "[past + node for node in range(nodes)]"),),
    ),
    "positions-by-step": Example("chain", (("position += len(accepted) + 1", "position += 1"),), _POSITIONS_OF_TARGET),
    "sibling-leak": _trial("mask leaks a sibling"),
    "rejected-stay": Example("chain", (("target_cache.crop(min(0, kept - target_cache.get_seq_length()))", "pass"),)),
    "stale-residual": _trial("stale residual"),
    "only-the-token": Example("tree", (("p_row.sub_(q_used).clamp_(min=0)", "p_row[token] = 0"),)),
    "not-renormalised": _trial("q not renormalised"),
    "other-temperature": _trial("verified at another temperature"),
    "coin-of-zero": Example(
        "chain",
        (("if coins[node] >= ratios[node]:", "if coins[node] > ratios[node]:"),),
        _ONLY_LIKELY,
        said={"sampling": {"temperature": 0.7, "top_k": 5}},
    ),
    "argmax-drafts": _trial("argmax drafts judged with softmax q"),
    "other-q": _trial("drafted at T = 1, judged at T = 2"),
    "draft-two-short": _trial("draft context two short"),
    "draft-one-short": Example("chain", (("text[drafted_from:]", "text[-1:]"),)),
    "draft-keeps-rejected": Example(
        "chain", (("draft_cache.crop(min(0, kept - draft_cache.get_seq_length()))", "pass"),), _KNOWN_TO_DRAFT
    ),
    "draft-positions": Example(
        "chain",
        ((".get_seq_length()\n                logits", ".get_seq_length() + (len(q) > 0)\n                logits"),),
        _POSITIONS_OF_DRAFT,
    ),
    "end-inside": Example(
        "chain",
        (("            new = new[: new.index(END) + 1] if END in new else new\n", ""),),
        _ENDS,
        stops=True,
    ),
    "no-token-after-rejection": Example(
        "chain",
        (
            (
                "in accepted] + [bonus]\n            step",
                "in accepted] + [bonus] * (len(accepted) in (0, length))\n            step",
            ),
        ),
        _TYPICAL,
        said={"rule": "eta:epsilon=0.3,delta=0.3", "lossless": False},
    ),
    "bonus-too-early": Sequoia(),
    "head-keeps-drafted": HeadLoop((("reused = 0", "reused = min(len(accepted), length - 1)"),)),
    "head-other-layers": HeadLoop((("= list(head.info.reads)", "= [layer - 1 for layer in head.info.reads]"),)),
    "head-norm-flipped": HeadLoop(broken=_flip_norm),
    "head-no-shift": HeadLoop((("text[drafted_from + 1 :]", "text[drafted_from : -1]"),)),
    "head-other-tokens": HeadLoop((("head.token_ids if head", "torch.arange(len(head.token_ids)) if head"),)),
    "head-other-rope": HeadLoop(broken=_other_rope),
    "head-no-embeddings": HeadLoop(broken=_no_embeddings),
}
"""By the name of the fault."""


@lru_cache(maxsize=1)
def tiny_head_pair() -> Pair:
    """A random target of four layers, and a random head that reads three of them and proposes a part of its tokens."""
    target = tiny.make_model("llama", layers=4)
    files = head_files.eagle3(target.config, reads=(1, 2, 3), columns=100, norm_output=True, fc_norm=True)
    pair = pairs.pair_of(target, target)
    model = head_model(eagle3.FORMAT.build(*files, target.config, {}), "tiny-head", pair.target)
    return Pair(target, model, loops.PROMPT, end=1)


@lru_cache(maxsize=1)
def tiny_pair() -> Pair:
    """Random models of a few kilobytes."""
    target, draft = loops.models()
    return Pair(target, draft, loops.PROMPT)
