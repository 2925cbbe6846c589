"""A recorder on the card: copies are not waited for, and a step is written when the next one ends."""

from __future__ import annotations

import pytest
import torch

import specviz
from specviz.recorder import arrays
from specviz.recorder.recorder import Recorder
from tests.card.groups.device import events, waits

CARD = torch.device("cuda")
PROMPT, TOKENS, PARENTS = [1, 2, 3], [3, 4, 5, 6], [-1, 0, 0, 1]


@pytest.fixture(autouse=True)
def unpinned(monkeypatch) -> None:
    """A CPU build of torch has no memory that a card could write to; the pretended one writes to any."""
    monkeypatch.setattr(arrays, "_room", lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))


def rows(n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(n, 50, generator=torch.Generator().manual_seed(n)).softmax(-1).to(dtype)


def say(rec: Recorder, device: torch.device, dtype: torch.dtype, *, read: bool = False) -> None:
    """A step of everything; the rows and the cache are changed in place before it ends."""
    p, q, bonus_row = (rows(n, dtype).to(device) for n in (4, 2, 1))
    layers = [(torch.arange(48.0).view(1, 2, 6, 4).to(device), torch.ones(1, 2, 6, 4).to(device)) for _ in range(2)]
    tokens, path = torch.tensor(TOKENS).to(device), torch.tensor([1]).to(device)
    with rec.step() as step:
        step.tree(tokens, PARENTS)
        step.draft(q, proposal="with_replacement")
        step.target(p, positions=torch.tensor([2, 3, 3, 4]).to(device))
        with step.cache("target", layers, length=2):
            for keys, _ in layers:
                keys[:, :, 3].copy_(keys[:, :, 4])
        step.verify(accepted=path, bonus=torch.tensor(9).to(device), coins={1: 0.5}, bonus_row=bonus_row)
        for changed in (p, q, bonus_row, tokens, path):
            changed.zero_()
        if read:
            p.cpu()  # as a loop does that wants to know its tokens


def recorded(device: torch.device, dtype: torch.dtype, steps: int = 2) -> specviz.Trace:
    rec = Recorder(prompt=PROMPT, strict=True)
    for _ in range(steps):
        say(rec, device, dtype)
    return rec.trace()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_card_is_recorded_as_the_host_is(dtype):
    there, here = recorded(CARD, dtype), recorded(torch.device("cpu"), dtype)
    assert len(there.steps) == 2
    for one, other in zip(there.steps, here.steps, strict=True):
        exclude = {"timings"}
        assert one.model_dump(exclude=exclude) == other.model_dump(exclude=exclude)
    assert there.steps[0].caches.target.moves == ((4, 3),)


def test_a_step_waits_for_nothing_and_is_written_when_the_next_one_ends(monkeypatch):
    rec = Recorder(prompt=PROMPT, strict=True)
    say(rec, CARD, torch.float32, read=True)  # makes what fingerprints need
    assert rec._requests[None].steps == 0
    heard = events(lambda: say(rec, CARD, torch.float32, read=True))
    assert rec._requests[None].steps == 1
    monkeypatch.setenv("SPECVIZ", "0")
    off = Recorder()
    assert sum(count for (kind, _), count in heard.items() if kind == "download") == 9
    assert sum(count for (kind, _), count in heard.items() if kind == "wait") == waits(
        lambda: say(off, CARD, torch.float32, read=True)
    )
    rec.end()
    assert len(rec.trace().steps) == 2


def test_the_last_step_is_written_when_the_process_ends(monkeypatch, tmp_path):
    at_the_end = []
    monkeypatch.setattr("atexit.register", at_the_end.append)
    rec = Recorder(tmp_path / "run.jsonl", prompt=PROMPT, strict=True)
    for _ in range(2):
        say(rec, CARD, torch.float32)
    assert len(specviz.load(rec._file.path).steps) == 1
    (close,) = at_the_end
    close()
    assert len(specviz.load(rec._file.path).steps) == 2


def test_what_is_on_its_way_is_not_read_before_it_has_arrived():
    there = rows(2).to(CARD)
    taken = arrays.snapshot(there)
    there.zero_()
    assert not taken.ready
    assert torch.from_numpy(taken.get()).equal(rows(2))
