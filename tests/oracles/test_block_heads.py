"""Block heads give the numbers of independent implementations: Medusa's, z-lab's and DeepSpec's own, speculators'."""

from __future__ import annotations

import pytest

from tests.block_scenario import CASES
from tests.oracles.block_implementations import differences

pytestmark = pytest.mark.oracles


@pytest.mark.parametrize("name", CASES)
def test_a_block_head_gives_the_rows_of_an_independent_implementation(name: str) -> None:
    for what, (largest, scale) in differences(name).items():
        print(f"{name}: {what} differ by at most {largest:.2g}, scale {scale:.2g}")
        assert largest <= 1e-5 * scale
