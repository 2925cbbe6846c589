"""Block heads give the numbers of independent implementations: Medusa's, z-lab's and DeepSpec's own, speculators'."""

from __future__ import annotations

import pytest

from specviz.engine.session import Session
from specviz.models.heads import dflash
from specviz.models.loading import Pair
from specviz.trace.schema import Choice, Sampling
from tests import block_heads, tiny
from tests.block_scenario import CASES
from tests.heads import with_head
from tests.oracles.block_implementations import differences, zlab_decoding
from tests.pairs import make_settings, pair_of

pytestmark = pytest.mark.oracles


def small_pair() -> Pair:
    """A target of few tokens, so that a random head has many of them right."""
    model = tiny.make_model("llama", vocab=6)
    return pair_of(model, model)


@pytest.mark.parametrize("name", CASES)
def test_a_block_head_gives_the_rows_of_an_independent_implementation(name: str) -> None:
    for what, (largest, scale) in differences(name).items():
        print(f"{name}: {what} differ by at most {largest:.2g}, scale {scale:.2g}")
        assert largest <= 1e-5 * scale


def test_z_labs_own_decoding_accepts_the_same_tokens_in_the_same_steps() -> None:
    """Its loop gives the first token before its first block, so ours begins behind it."""
    pair, prompt = small_pair(), [1, 2, 3, 0, 2, 4]
    model = pair.target.model
    files = block_heads.dflash(model.config, seed=5, reads=(1, 2))
    text, lengths = zlab_decoding(files, model, prompt, 40)
    head = dflash.FORMAT.build(*files, model.config, {})
    head.bind(model)
    settings = make_settings(
        Choice(name="k_config", options={"tree": "1,1,1", "proposal": "top_k"}),
        target=Sampling(temperature=0.0),
        verifiers=(Choice(name="greedy"),),
        driver="greedy",
        max_new_tokens=36,
    )
    first = text[len(prompt)]
    session = Session(with_head(pair, head), settings, "x", tokens=[*prompt, first])
    steps = [len(step.committed) for step in session.run()]
    assert session.tokens[: len(text)] == text[: len(session.tokens)]
    assert steps[:-1] == lengths[: len(steps) - 1]
    assert {1, 2, 4} <= {*lengths}, "where all lengths are alike, this proves little"
