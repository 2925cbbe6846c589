"""Processed rows against the sampling that is said to have made them of the logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from specviz import sampling as torch_sampling
from specviz.recorder.checks.processing import processing
from specviz.recorder.checks.rows import View
from specviz.trace.schema import Sampling
from tests.recorder import steps as recorded
from tests.recorder.checks.steps import step

Z = np.array([[2.0, 1.0, 0.0, -1.0], [0.0, 3.0, 2.0, 1.0], [1.0, 1.5, 0.0, 0.5]])


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def said(p: np.ndarray, sampling: Sampling | None, logits: np.ndarray = Z, **changes: Any) -> View:
    fields = {"p": p, "p_logits": logits, "target_sampling": sampling, "accepted": [2], "committed": [1, 2], "bonus": 2}
    return View(step(**fields | changes))


def test_rows_that_the_sampling_makes_fit() -> None:
    found = processing(said(softmax(Z / 0.5), Sampling(temperature=0.5)))
    assert (found.compared, found.failed) == (2, 0)  # the root and the accepted node 2, not node 1 beside them
    assert found.worst == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("sampling", "rows"),
    [
        (Sampling(temperature=0.5), softmax(Z / 0.9)),
        (Sampling(temperature=0), softmax(Z)),
        (Sampling(top_k=2), softmax(Z)),
        (Sampling(top_k=3), softmax(np.where(np.sort(Z)[:, -2:-1] <= Z, Z, -np.inf))),
        (Sampling(top_p=0.5), softmax(Z)),
        (Sampling(), softmax(Z) * 0.5),
    ],
)
def test_another_sampling_is_found(sampling: Sampling, rows: np.ndarray) -> None:
    found = processing(said(rows, sampling))
    assert (found.compared, found.failed) == (2, 2)
    assert found.node in (0, 2)
    assert found.worst == pytest.approx(np.abs(rows - _ours(Z, sampling))[[0, 2]].max())
    assert f"temperature {'0.500' if sampling.temperature == 0.5 else int(sampling.temperature)}" in found.message


def _ours(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    return torch_sampling.process(torch.from_numpy(logits), sampling).numpy()


@pytest.mark.parametrize(
    ("sampling", "rows"),
    [
        (Sampling(top_k=2), [0.4, 0.0, 0.6, 0.0]),  # of the equal ones the other one
        (Sampling(top_k=2), [0.4 / 1.4, 0.4 / 1.4, 0.6 / 1.4, 0.0]),  # both of them
        (Sampling(top_p=0.6), [0.4, 0.0, 0.6, 0.0]),
    ],
)
def test_which_of_equal_tokens_a_filter_leaves_does_not_count(sampling: Sampling, rows: list[float]) -> None:
    logits = np.log(np.array([[0.2, 0.2, 0.3, 0.1]]))
    found = processing(said(np.array([rows]), sampling, logits, p_nodes=[0]))
    assert (found.compared, found.failed) == (1, 0)


def test_of_equal_tokens_greedy_decoding_may_take_any_but_no_other() -> None:
    logits, greedy = np.array([[2.0, 2.0, 1.0, 0.0]]), Sampling(temperature=0)
    for token, failed in ((0, 0), (1, 0), (2, 1)):
        assert processing(said(np.eye(4)[[token]], greedy, logits, p_nodes=[0])).failed == failed


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.7), Sampling(top_k=5), Sampling(top_p=0.9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rounding_of_the_format_is_no_finding(sampling: Sampling, dtype: torch.dtype) -> None:
    """Logits in the format, and a softmax of it, whose rows an engine then takes for float32."""
    logits = (4 * torch.randn(64, 3, 50, generator=torch.Generator().manual_seed(0))).to(dtype)
    for one in logits:
        rows = torch_sampling.process(one, sampling).to(dtype)
        kind = str(dtype).removeprefix("torch.")
        view = said(rows.float().numpy(), sampling, one.float().numpy(), logits_dtype=kind)
        assert not processing(view).failed


@pytest.mark.parametrize(
    ("changes", "lacked"),
    [
        ({"p_logits": None}, "as probabilities and as logits, both"),
        ({"p_made": [0, 1, 2]}, "as probabilities and as logits, both"),
        ({"target_sampling": None}, "(sampling=)"),
        ({"p": softmax(Z)[:1], "p_logits": Z[:1], "p_nodes": [1]}, "the root or of an accepted node"),
    ],
)
def test_what_it_lacks(changes: dict[str, Any], lacked: str) -> None:
    found = processing(View(step(**{"p": softmax(Z), "p_logits": Z, "target_sampling": Sampling()} | changes)))
    assert found.compared == 0
    assert lacked in found.lacked


def test_a_recorder_that_was_told_another_temperature_says_so_and_not_of_rows_that_it_made_itself() -> None:
    logits = np.random.default_rng(0).normal(size=(4, recorded.V)).astype(np.float32)
    told = {"logits": logits}
    for calls, failed in (
        ({"probs": softmax(logits / 0.9)}, True),
        ({"probs": softmax(logits / 0.5)}, False),
        ({}, None),
    ):
        both = {"target": told | calls, "draft": told | calls | {"proposal": "without_replacement"}}
        step = recorded.one_step(recorded.recorder(sampling=0.5, draft_sampling=0.5), **both)
        checks = {check.name: check for check in step.checks}
        for name in ("processing", "draft_processing"):
            assert (bool(checks[name].failed) if checks[name].compared else None) is failed
