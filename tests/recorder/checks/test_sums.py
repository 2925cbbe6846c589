"""Sums of rows: what rounding does to them is no fault."""

from __future__ import annotations

import pytest
import torch

from specviz.recorder.checks.sums import TOLERANCE, sums_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_tolerance_covers_even_rows_of_every_width(dtype: torch.dtype) -> None:
    widths = torch.arange(2, 262_145, dtype=torch.float64)
    entries = (1 / widths).float().to(dtype).double()
    assert ((entries * widths - 1).abs() < TOLERANCE).all()
    worst = int(widths[(entries * widths - 1).abs().argmax()])
    row = torch.full((1, worst), 1 / worst).to(dtype).float().numpy()
    assert abs(float(sums_of(row)[0]) - 1) < TOLERANCE
