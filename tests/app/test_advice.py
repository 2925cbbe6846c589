"""An advised tree on the page: taken into the settings, and nothing else of them is changed."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from specviz.app.advice_handlers import take_shape
from specviz.app.form import Form
from specviz.drafting import BUILDERS
from specviz.drafting.static import explicit_plan
from specviz.figures.advice import advice_totals
from specviz.trace.schema import Trace
from tests.foreign import foreign
from tests.pairs import make_pair
from tests.sample_traces import k_config, sample_trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return sample_trace(k_config(3, 2), steps=120, verifiers=("rejection",))


def taken(form: Form, trace: Trace | None, **asked: object) -> tuple[dict, dict]:
    """(the notice, what is written into the form by name)."""
    there = SimpleNamespace(find=lambda run: trace and SimpleNamespace(trace=trace) if run == "r" else None)
    text, *updates = take_shape(form, there, json.dumps({"notice": {"text": "absent"}}), SimpleNamespace(_data=asked))
    written = dict(zip(form.components, updates, strict=True))
    return json.loads(text)["notice"], {name: one["value"] for name, one in written.items() if "value" in one}


def test_the_button_writes_the_tree_that_the_totals_offer(form: Form, trace: Trace) -> None:
    offered = advice_totals(trace)["found"]
    best = next(tree for tree in offered["trees"] if tree["budget"] == offered["best"])
    notice, written = taken(form, trace, run="r", budget=best["budget"])
    assert written == {
        "builder": "explicit",
        "builder.explicit.paths": best["paths"],
        "builder.explicit.proposal": trace.steps[0].tree.proposal,
    }
    assert "explicit" in BUILDERS
    assert sum(explicit_plan(written["builder.explicit.paths"]).values()) == best["nodes"]
    assert f"The tree of {best['nodes']} nodes is in the settings" in notice["text"]


@pytest.mark.parametrize("level", [1, 3])
def test_a_tree_is_taken_from_another_engines_run_and_what_is_not_known_stays(form: Form, trace: Trace, level) -> None:
    notice, written = taken(form, foreign(trace, level), run="r", budget=4)
    assert ("builder.explicit.proposal" in written) == (level > 1)
    assert written["builder"] == "explicit"
    assert "which another engine made" in notice["text"]
    assert ("was not recorded" in notice["text"]) == (level == 1)


@pytest.mark.browser
def test_the_button_is_pressed_on_another_engines_run_and_a_step_has_the_tree(served, trace: Trace) -> None:
    few = foreign(trace.model_copy(update={"steps": trace.steps[:70]}), 3)
    seen = served(few, lambda *_, **__: make_pair())
    page = seen.page
    seen.dock("totals")
    page.click("[data-act=take-shape]")
    page.wait_for_selector(".sv-notice")
    nodes = int(re.search(r"The tree of (\d+) nodes is in the settings", page.inner_text(".sv-notice"))[1])
    seen.menu("settings")
    page.wait_for_selector("label:has-text('Paths') textarea")
    assert sum(explicit_plan(page.input_value("label:has-text('Paths') textarea")).values()) == nodes
    page.uncheck("label:has-text('Chat template') input")  # the tiny tokenizer has none
    seen.menu("view")
    page.fill("#prompt textarea", "the sea")
    page.click("#new")
    page.click("#step")
    page.wait_for_function("!window.specvizViewer.mounted.at(-1).state.run.engine")
    drawn = page.evaluate(
        "(() => { const {state} = window.specvizViewer.mounted.at(-1); return state.frames.get(0); })()"
    )
    assert drawn["builder"] == "explicit"
    assert len(drawn["tree"]["parent"]) == nodes + 1


def test_what_cannot_be_advised_changes_nothing_and_says_why(form: Form, trace: Trace) -> None:
    few = trace.model_copy(update={"steps": trace.steps[:5]})
    assert "too few to advise" in advice_totals(few)["refused"]
    for run, asked, said in (
        (few, {"run": "r", "budget": 4}, "too few to advise"),
        (trace, {"run": "r", "budget": 0}, "A budget is"),
        (trace, {"run": "r", "budget": "4"}, "absent"),
        (trace, {"run": "other", "budget": 4}, "absent"),
        (None, {"run": "r", "budget": 4}, "absent"),
    ):
        notice, written = taken(form, run, **asked)
        assert said in notice["text"]
        assert written == {}
