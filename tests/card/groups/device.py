"""The pretended card itself: it refuses and counts what a card does."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
import torch

from tests.card import pretended
from tests.card.pretended import listening


def events(act) -> Counter:
    """(kind, operation) of what happens in a function."""
    heard: Counter = Counter()

    def hear(kind: str, operation: str, operands: str) -> None:
        heard[kind, operation] += 1

    with listening(hear):
        act()
    return heard


def waits(act) -> int:
    return sum(count for (kind, _), count in events(act).items() if kind == "wait")


@pytest.fixture
def values() -> torch.Tensor:
    return torch.tensor([3.0, 1.0, 2.0]).to("cuda")


def test_torch_says_that_there_are_two_cards(values):
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 2
    assert values.device == torch.device("cuda:0")
    assert values.is_cuda
    assert values.to("cuda:1").device == torch.device("cuda:1")
    assert torch.arange(3, device="cuda").device == torch.device("cuda:0")
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.empty(3, device="cuda:2")


@pytest.mark.parametrize(
    "mix",
    [
        lambda a: a + torch.ones(3),
        lambda a: torch.ones(3).add_(a),
        lambda a: torch.zeros(()).add_(a.sum()),
        lambda a: torch.cat([a, torch.ones(3)]),
        lambda a: a.gather(0, torch.tensor([0])),
        lambda a: a.index_select(0, torch.tensor([0])),
        lambda a: torch.ones(3)[torch.tensor([0, 1], device="cuda")],
        lambda a: a + torch.ones(3, device="cuda:1"),
        lambda a: a[torch.tensor([0], device="cuda:1")],
        lambda a: torch.nn.functional.linear(a, torch.ones(2, 3)),
        lambda a: torch.nn.functional.embedding(torch.tensor([0]), a[:, None]),
    ],
)
def test_tensors_of_two_devices_are_refused(values, mix):
    with pytest.raises(RuntimeError, match="device"):
        mix(values)


def test_the_host_does_not_see_its_memory(values):
    with pytest.raises(TypeError, match="cuda"):
        values.numpy()
    with pytest.raises(TypeError, match="cuda"):
        np.asarray(values)


def test_fresh_memory_holds_anything():
    assert torch.empty(1000, device="cuda").isnan().all()


def test_numbers_of_the_host_may_take_part(values):
    assert (values * 2 + torch.tensor(1.0)).tolist() == [7, 3, 5]


@pytest.mark.parametrize(
    "ask",
    [
        lambda a: a[0].item(),
        lambda a: bool(a[0] > 0),
        lambda a: a.tolist(),
        lambda a: a.cpu(),
        lambda a: torch.tensor([1.0, 2.0], device="cuda"),
        lambda a: torch.ones(2).to("cuda"),
        lambda a: a[[0, 2]],
        lambda a: a[torch.tensor([0])],
        lambda a: a[a > 1],
        lambda a: a.nonzero(),
        lambda a: a.masked_select(a > 1),
        lambda a: torch.equal(a, a),
        lambda a: a.__setitem__(a > 1, torch.ones(1).to("cuda", non_blocking=True)),
        lambda a: a.__setitem__(torch.tensor([0]), 2.0),
        lambda a: torch.cuda.synchronize(),
    ],
)
def test_what_waits_is_counted_once(values, ask):
    assert waits(lambda: ask(values)) == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda a: a + 1,
        lambda a: a.topk(2),
        lambda a: a.softmax(-1),
        lambda a: a[1:].zero_(),
        lambda a: a[torch.tensor([0, 1]).to("cuda", non_blocking=True)],
        lambda a: torch.where(a > 1, a, torch.zeros_like(a)),
        lambda a: torch.where(a > 1, a, 0.0),
        lambda a: a.__setitem__(a > 1, 2.0),
        lambda a: a.clone().to("cuda:1"),
        lambda a: a.masked_fill(a > 1, 0.0),
        lambda a: torch.arange(3, device="cuda"),
    ],
)
def test_what_does_not_wait_is_not(values, ask):
    assert waits(lambda: ask(values)) == 0


def test_an_upload_that_does_not_block_is_counted_apart(values):
    heard = events(lambda: torch.ones(3).to("cuda", non_blocking=True) + values)
    assert heard == {("upload", "upload"): 1, ("launch", "aten::add.out"): 1}

    host = torch.zeros(3)
    assert events(lambda: host.copy_(values, non_blocking=True)) == {("download", "download"): 1}
    values.zero_()
    assert host.isnan().all()  # it has not arrived: who reads it without waiting reads nonsense
    torch.cuda.synchronize()
    assert host.tolist() == [3.0, 1.0, 2.0]


def test_results_are_those_of_the_cpu(values):
    host = values.cpu()
    assert values.sort(descending=True)[0].cpu().equal(host.sort(descending=True)[0])
    assert values.cumsum(0).cpu().equal(host.cumsum(0))
    written = values.clone()
    written[torch.tensor([0, 1], device="cuda")] = torch.tensor([9.0, 8.0]).to("cuda")
    assert written.tolist() == [9, 8, 2]
    resized = torch.empty(0, device="cuda")
    torch.mul(values, 2, out=resized)
    assert resized.tolist() == [6, 2, 4]


def test_memory_is_counted_for_each_card():
    before = pretended.allocated(0), pretended.allocated(1)
    there = torch.empty(1000, device="cuda:1")
    assert (pretended.allocated(0), pretended.allocated(1)) == (before[0], before[1] + 4000)
    assert torch.cuda.mem_get_info(1)[0] == pretended.MEMORY - before[1] - 4000
    del there
    assert pretended.allocated(1) == before[1]


def test_an_event_tells_its_time_only_after_a_wait(values):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    time.sleep(0.001)
    end.record()
    assert not end.query()
    with pytest.raises(RuntimeError, match="not ready"):
        start.elapsed_time(end)
    assert waits(lambda: (values + 1).tolist()) == 1
    assert end.query()
    assert start.elapsed_time(end) > 0


def test_what_a_listener_raises_is_raised(values):
    def refuse(kind: str, operation: str, operands: str) -> None:
        raise ValueError(operation)

    with pytest.raises(ValueError, match="aten::add"), listening(refuse):
        values + 1
