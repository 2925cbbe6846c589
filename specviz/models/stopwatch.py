"""Points in time on a device, told without waiting for it."""

from __future__ import annotations

import time

import torch

Moment = float | torch.cuda.Event
"""Seconds of the host's clock; on CUDA the moment at which the device has done all that it was told before."""


def moment(device: torch.device) -> Moment:
    """Now. On MPS it waits for the device, so that neither earlier work is timed as later work nor the reverse."""
    if device.type == "cuda":
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return event
    if device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def seconds(start: Moment, stop: Moment) -> float:
    """From one moment to a later one of the same device, which must have passed there: read something first."""
    if isinstance(start, float) or isinstance(stop, float):
        assert isinstance(start, float)
        assert isinstance(stop, float)
        return stop - start
    return float(start.elapsed_time(stop)) / 1000
