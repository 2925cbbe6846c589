"""Uploads and reads on the CPU; what they do on a card is tested on the pretended one."""

import pytest
import torch

from specviz.transfers import Reads, read, upload


def test_on_the_cpu_nothing_is_copied():
    tensors = [torch.arange(3), torch.ones(2, 2), torch.tensor(True)]
    assert [found.data_ptr() for found in read(*tensors)] == [tensor.data_ptr() for tensor in tensors]
    assert read() == []


def test_an_upload_has_the_dtype_that_was_asked_for():
    assert upload([1, 2], torch.device("cpu"), torch.float64).dtype == torch.float64
    assert upload([1, 2], torch.device("cpu")).dtype == torch.int64


def test_on_the_cpu_nothing_is_put_off():
    reads, seen = Reads(), []
    reads.later([torch.tensor(3)], lambda value: seen.append(int(value)))
    assert seen == [3]

    def refuse(value: torch.Tensor) -> None:
        raise ValueError(int(value))

    with pytest.raises(ValueError, match="4"):
        reads.later([torch.tensor(4)], refuse)
    assert reads.now(torch.tensor(5))[0] == 5


def test_what_was_asked_for_is_still_to_be_read_after_a_read_that_failed(monkeypatch: pytest.MonkeyPatch):
    reads = Reads()
    asked = reads.ask(torch.empty(1, device="meta"))  # is on no CPU, so it waits for a read
    for _ in range(2):
        with pytest.raises(NotImplementedError, match="no data"):
            asked()
    monkeypatch.setattr("specviz.transfers.read", lambda *tensors: [torch.ones(tensor.shape) for tensor in tensors])
    assert asked()[0] == 1
