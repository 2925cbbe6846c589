"""Uploads that do not wait, and reads that are gathered."""

from __future__ import annotations

import pytest
import torch

from specviz.transfers import Reads, read, upload
from tests.card.groups.device import events, waits

CARD = torch.device("cuda")
DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist())


def of_every_kind() -> list[torch.Tensor]:
    """Tensors on the host: every dtype, in shapes and layouts that a read has to undo."""
    found = []
    for number, dtype in enumerate(DTYPES):
        whole = (torch.arange(12).view(3, 4) * 37 - 100).to(dtype)
        found += [whole, whole.t(), whole[:, 1:3], whole[1, 2], whole[:0], whole[::2, number % 3]]
    found += [torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]), torch.tensor(-0.0)]
    found.append(torch.tensor(2**62 + 1).expand(3))
    return found


def test_every_dtype_shape_and_layout_is_read_bit_for_bit_for_one_wait():
    host = of_every_kind()
    there = [tensor.to(CARD) for tensor in host]
    found = []
    assert waits(lambda: found.extend(read(*there))) == 1
    for expected, got in zip(host, found, strict=True):
        assert got.device.type == "cpu"
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert bits(got) == bits(expected)


def test_layouts_of_the_card_are_read_too():
    base = torch.arange(12.0).view(3, 4)
    there = base.to(CARD)
    views = [lambda t: t.t(), lambda t: t[:, 1:3], lambda t: t[1, 2], lambda t: t[0, :0], lambda t: t[0].expand(2, 4)]
    assert all(got.equal(view(base)) for got, view in zip(read(*(view(there) for view in views)), views, strict=True))


def test_a_wait_for_each_device_and_none_for_the_host():
    tensors = [torch.ones(2), torch.ones(3).to("cuda:1"), torch.ones(4).to("cuda:0"), torch.zeros(1).to("cuda:1")]
    found = []
    assert waits(lambda: found.extend(read(*tensors))) == 2
    assert [tuple(tensor.shape) for tensor in found] == [(2,), (3,), (4,), (1,)]
    assert found[0] is tensors[0]
    assert waits(lambda: read(torch.ones(2))) == 0
    assert waits(lambda: read()) == 0


@pytest.mark.parametrize("values", [[1, 2], [[True, False]], [0.1, 2.5], 7, []])
def test_an_upload_does_not_wait(values):
    heard = events(lambda: upload(values, CARD))
    assert not [kind for kind, _ in heard if kind == "wait"]
    got = upload(values, CARD)
    assert got.device.type == "cuda"
    assert bits(got.cpu()) == bits(torch.tensor(values))
    assert upload([1], CARD, torch.float64).dtype == torch.float64


def test_what_is_put_off_is_read_with_the_next_read():
    reads, seen = Reads(), []
    reads.later([torch.tensor(3).to(CARD), torch.ones(2)], lambda *got: seen.append([x.tolist() for x in got]))
    reads.later([torch.tensor(4).to(CARD)], lambda got: seen.append(got.item()))
    assert seen == []
    found, five = [], torch.tensor(5).to(CARD)
    assert waits(lambda: found.extend(reads.now(five))) == 1
    assert [tensor.item() for tensor in found] == [5]
    assert seen == [[3, [1.0, 1.0]], 4]
    assert waits(reads.finish) == 0
    reads.later([torch.tensor(6).to(CARD)], lambda got: seen.append(got.item()))
    assert waits(reads.finish) == 1
    assert seen[-1] == 6


def test_what_was_put_off_first_raises_first_and_the_rest_is_dropped():
    reads, seen = Reads(), []

    def refuse(value: torch.Tensor) -> None:
        raise ValueError(value.item())

    reads.later([torch.tensor(3).to(CARD)], refuse)
    reads.later([torch.tensor(4).to(CARD)], lambda got: seen.append(got.item()))
    with pytest.raises(ValueError, match="3"):
        reads.now(torch.tensor(5).to(CARD))
    reads.finish()
    assert seen == []


def test_what_is_dropped_is_never_read():
    reads, seen = Reads(), []
    reads.later([torch.tensor(3).to(CARD)], lambda got: seen.append(got.item()))
    reads.drop()
    assert waits(reads.finish) == 0
    assert seen == []
