"""NaN and infinity in logits: which model, step, node and layer, and what is kept of the step."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from specviz.app import run_handlers
from specviz.app.server.session_registry import Sessions
from specviz.cli import main
from specviz.drafting import BUILDERS
from specviz.engine.session import Session
from specviz.errors import NumericsError, SpecvizError, VerifierError
from specviz.figures import block
from specviz.figures.export import standalone_page
from specviz.models.loading import Pair
from specviz.models.nonfinite import LogitsError
from specviz.models.pair_spec import ModelChoice
from specviz.trace.io import dump_trace, load_trace, parse_trace
from specviz.trace.schema import FailedStep, Trace
from specviz.trace.summary import summary
from specviz.transfers import Reads
from specviz.verifiers import VERIFIERS
from tests import tiny
from tests.browser import Watched
from tests.pairs import make_pair, make_settings, pair_of
from tests.saved_pages import block_in

PROMPT = "the sea"


def spoiled(part: str, change) -> Pair:
    """A pair of which one model was changed by ``change(model)``."""
    target = tiny.make_model("llama")
    models = {"target": target, "draft": tiny.perturbed(target)}
    with torch.no_grad():
        change(models[part])
    return pair_of(models["target"], models["draft"])


def drafted(pair: Pair, steps: int) -> list[int]:
    """The tokens of the tree of step ``steps``, counted from 0."""
    session = Session(pair, make_settings(), PROMPT)
    return [node.token for node in [session.step() for _ in range(steps + 1)][-1].tree.nodes]


def fails(pair: Pair, steps: int = 0, **settings) -> tuple[str, FailedStep]:
    """The message of a run that fails after ``steps`` steps, and what it kept, as its file tells it."""
    session = Session(pair, make_settings(**settings), PROMPT)
    for _ in range(steps):
        session.step()
    with pytest.raises(SpecvizError) as caught:
        session.step()
    message = str(caught.value)
    assert "\n" not in message
    trace = parse_trace(dump_trace(session.trace))
    assert len(trace.steps) == steps
    assert (trace.end_reason, trace.end_message) == ("error", message)
    assert trace.failed.message == message
    assert trace.failed.index == steps
    return message, trace.failed


def rows_with(token: int):
    """NaN in the embedding of a token."""
    return lambda model: model.model.embed_tokens.weight[token].fill_(math.nan)


def test_a_target_that_breaks_at_one_node_is_told_by_that_node_though_all_rows_are_broken() -> None:
    # One broken row goes into all others: what a mask rules out is still multiplied by 0.
    sound = make_pair(scale=0.2)
    tokens = drafted(sound, 1)
    seen = {*sound.encode(PROMPT, False), *drafted(sound, 0)}
    token = next(token for token in tokens[1:] if token not in seen)
    message, failed = fails(spoiled("target", rows_with(token)), 1)
    nodes = [node for node, one in enumerate(tokens) if one == token]
    assert message.startswith("The target target gave NaN logits at nodes ")
    assert "in step 2" in message
    assert f"outside the layers (model.embed_tokens) at node{'s' * (len(nodes) > 1)} {nodes[0]}" in message
    assert failed.nonfinite.model == "target"
    assert failed.nonfinite.found == "NaN"
    assert list(failed.nonfinite.first_nodes) == nodes
    assert failed.nonfinite.first_tokens == ()
    assert (failed.nonfinite.module, failed.nonfinite.layer) == ("model.embed_tokens", None)
    assert [node.token for node in failed.nodes] == tokens
    assert all(node.draft_prob is not None for node in failed.nodes[1:])
    assert all(node.target is None and node.target_prob is None for node in failed.nodes)


def test_a_draft_that_breaks_in_the_second_level_keeps_the_first() -> None:
    sound = make_pair(scale=0.2)
    tokens = drafted(sound, 0)
    token = tokens[2]
    assert token not in (*sound.encode(PROMPT, False), tokens[1])
    message, failed = fails(spoiled("draft", rows_with(token)))
    assert message.startswith("The draft draft gave NaN logits at ")
    assert "in step 1; NaN or infinity first appears outside the layers (model.embed_tokens) at node 2" in message
    assert [node.token for node in failed.nodes] == tokens[:5]
    assert failed.nodes[0].draft is not None
    assert failed.nodes[2].draft is None
    assert set(failed.nonfinite.first_nodes) == {2} | {i for i in range(5) if tokens[i] == token}


@pytest.fixture
def put_off(monkeypatch):
    """Checks of logits wait for the next read on the CPU too, as they do on a GPU."""
    monkeypatch.setattr(Reads, "later", lambda reads, tensors, then: reads._later.append((tensors, then)))


@pytest.mark.parametrize("tree", ["4,2,2", "dynamic", "with replacement"])
def test_a_check_of_the_draft_that_is_put_off_tells_and_keeps_the_same(request, tree: str) -> None:
    sound = Session(make_pair(scale=0.2), make_settings(tree), PROMPT)
    tokens = [node.token for node in sound.step().tree.nodes]
    pair = spoiled("draft", rows_with(tokens[2]))
    at_once = fails(pair, builder=make_settings(tree).builder)
    assert at_once[1].nodes[0].draft is not None
    assert at_once[1].nodes[2].draft is None
    request.getfixturevalue("put_off")
    assert fails(pair, builder=make_settings(tree).builder) == at_once


@pytest.mark.usefixtures("put_off")
def test_a_builder_that_fails_on_rows_that_are_no_numbers_is_not_blamed(monkeypatch) -> None:
    def grow(growth, draft, options, dice, step, limits) -> None:
        rows = draft.expand(growth, [0])
        if not bool(rows.isfinite().all()):
            raise ValueError("rows are not finite")

    monkeypatch.setitem(BUILDERS, "k_config", replace(BUILDERS["k_config"], grow=grow))
    message, failed = fails(spoiled("draft", rows_with(make_pair().encode(PROMPT, False)[-1])))
    assert message.startswith("The draft draft gave NaN logits at node 0 in step 1")
    assert [node.draft for node in failed.nodes] == [None]


def test_what_began_in_the_prompt_is_told_by_its_place_in_the_text() -> None:
    tokens = make_pair().encode(PROMPT, False)
    message, failed = fails(spoiled("target", rows_with(tokens[1])))
    assert "(model.embed_tokens) at token 2 of the text" in message
    assert failed.nonfinite.first_tokens == (1,)
    assert failed.nonfinite.first_nodes == ()


@pytest.mark.parametrize(
    ("change", "found", "module", "layer"),
    [
        (lambda m: m.model.layers[1].mlp.down_proj.weight.fill_(math.nan), "NaN", "model.layers.1.mlp.down_proj", 1),
        # Too large for the format: infinity at first, and NaN in the next norm.
        (lambda m: m.model.layers[0].mlp.down_proj.weight.mul_(1e38), "NaN", "model.layers.0.mlp.down_proj", 0),
        (lambda m: m.model.norm.weight.fill_(math.nan), "NaN", "model.norm", None),
        (lambda m: m.lm_head.weight[7].fill_(math.inf), "NaN", "lm_head", None),
    ],
)
def test_the_first_part_of_the_model_is_named(change, found, module, layer) -> None:
    message, failed = fails(spoiled("target", change))
    assert (failed.nonfinite.found, failed.nonfinite.module, failed.nonfinite.layer) == (found, module, layer)
    assert (f"in layer {layer}" if layer is not None else "outside the layers") in message
    assert "check its weights" in message


@pytest.mark.parametrize(
    ("bias", "found", "words"),
    [
        ([math.inf] + [0.0] * (tiny.VOCABULARY - 1), "infinity", "an infinite logit"),
        ([-math.inf] * tiny.VOCABULARY, "-infinity for every token", "a logit of -infinity for every token"),
    ],
)
@pytest.mark.parametrize("part", ["target", "draft"])
def test_rows_of_infinities_are_called_what_they_are(part: str, bias: list[float], found: str, words: str) -> None:
    def change(model) -> None:
        model.lm_head.bias = torch.nn.Parameter(torch.tensor(bias))

    message, failed = fails(spoiled(part, change))
    assert message.startswith(f"The {part} {part} gave {words} at node")
    assert failed.nonfinite.found == found
    assert failed.nonfinite.module == "lm_head"
    assert 0 in failed.nonfinite.nodes


def test_a_cache_that_was_spoiled_is_blamed_and_not_a_layer() -> None:
    session = Session(make_pair(), make_settings(), PROMPT)
    session.step()
    with torch.inference_mode():
        session._target_runner.cache.slot_layers[1].values[0, 0, 3, 0] = math.nan
    with pytest.raises(LogitsError, match=r"in layer 1 \(its cached keys or values\) at token 4 of the text"):
        session.step()


def test_looking_for_the_origin_leaves_the_cache_as_it_was() -> None:
    model = spoiled("target", rows_with(9)).target
    cache = model.new_cache(16)
    with torch.inference_mode():
        model.prefill(cache, [5, 6, 7])
        model.forward(cache, [8], [-1], 1)
        kept = cache.fingerprints(0, 4)
        forwards, hooks = len(model.forwards), count_hooks(model.model)
        with pytest.raises(LogitsError):
            model.forward(cache, [9, 10], [0, 0], 2)
    assert len(model.forwards) == forwards + 1, "what is repeated to find the origin is not counted"
    assert (cache.num_committed, cache.length, len(cache.written)) == (3, 6, 3)
    assert cache.fingerprints(0, 4) == kept
    assert count_hooks(model.model) == hooks == 0
    cache.roll_back()
    assert cache.length == 3


def count_hooks(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_a_verifier_that_gives_nan_is_blamed_and_the_tree_it_was_given_is_kept(monkeypatch) -> None:
    exact = VERIFIERS["rejection"]

    def judge(tree, target, options):
        judgement = exact.judge(tree, target, options)
        return replace(judgement, thresholds=judgement.thresholds * math.nan)

    monkeypatch.setitem(VERIFIERS, "rejection", replace(exact, judge=judge))
    session = Session(make_pair(), make_settings(), PROMPT)
    with pytest.raises(VerifierError, match="The verifier rejection failed"):
        session.step()
    failed = parse_trace(dump_trace(session.trace)).failed
    assert len(failed.nodes) == 29
    assert all(node.target is not None for node in failed.nodes)
    assert all(0 < node.target_prob < 1 for node in failed.nodes[1:])
    assert failed.nonfinite is None


def test_the_error_comes_over_from_another_process() -> None:
    with pytest.raises(NumericsError) as caught:
        Session(spoiled("target", rows_with(make_pair().encode(PROMPT, False)[0])), make_settings(), PROMPT).step()
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.found == caught.value.found


def test_a_run_that_fails_in_its_first_step_is_saved_and_told(tmp_path: Path, capsys) -> None:
    target, draft = tiny.save_pair(tmp_path)
    sound = make_pair(scale=0.2)
    model = tiny.make_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[drafted(sound, 0)[1]] = math.nan
    model.save_pretrained(target)
    output = tmp_path / "t.json"
    arguments = ["record", "--prompt", PROMPT, "--target", str(target), "--draft", str(draft), "--tree", "4,2,2"]
    assert main([*arguments, "-o", str(output)]) == 2
    printed = capsys.readouterr()
    assert printed.err.strip().splitlines()[-1].startswith("specviz: The target target gave NaN logits at node")
    trace = load_trace(output)
    assert trace.steps == ()
    assert len(trace.failed.nodes) == 29
    assert "step 1 failed" in printed.out
    assert "28 drafted tokens" in printed.out
    assert summary(trace) in printed.out
    assert main(["export", str(output), "-o", str(tmp_path / "t.html")]) == 0
    page = block_in((tmp_path / "t.html").read_text(encoding="utf-8"))
    assert trace.end_message in json.dumps(page, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------------ in the page


def failed_run(steps: int) -> Trace:
    """A run whose target breaks after some steps."""
    sound = make_pair(scale=0.2)
    tokens = drafted(sound, steps)
    seen = {*sound.encode(PROMPT, False), *(token for step in range(steps) for token in drafted(sound, step))}
    token = next(token for token in tokens[1:] if token not in seen)
    session = Session(spoiled("target", rows_with(token)), make_settings(), PROMPT)
    with pytest.raises(LogitsError):
        list(session.run())
    assert len(session.steps) == steps
    return session.trace


def test_the_page_shows_a_step_that_fails_while_it_looks_on() -> None:
    token = drafted(make_pair(scale=0.2), 0)[1]
    pair = spoiled("target", rows_with(token))
    sessions = Sessions(load_pair=lambda *arguments, **options: pair)
    *_, (text, trace, ticket) = run_handlers.run_steps(
        sessions, "page", (PROMPT, ModelChoice("a", "b"), make_settings()), 5, None, None
    )
    said = json.loads(text)
    assert said["notice"]["kind"] == "error"
    assert said["notice"]["text"] == trace.end_message == said["run"]["failed"]["message"]
    assert said["run"]["endReason"] == "error"
    assert said["run"]["failed"]["nodes"]["parent"][1] == 0
    assert said["run"]["failed"]["nodes"]["wrong"][1] == "NaN (target), began here"
    assert block(trace, [])["frames"] == []
    assert ticket is not None


@pytest.mark.browser
@pytest.mark.parametrize("steps", [0, 1])
def test_a_failed_step_is_seen_with_its_sentence_and_its_tree(browser, tmp_path: Path, steps: int) -> None:
    trace = failed_run(steps)
    (tmp_path / "run.html").write_text(standalone_page(trace), encoding="utf-8")
    seen = Watched(browser, (tmp_path / "run.html").as_uri(), size=(390, 844))
    panel = seen.page.locator("section[aria-label='Failed step']")
    panel.wait_for(state="visible")
    assert panel.locator("h3").inner_text() == f"Step {steps + 1} failed"
    assert trace.end_message in panel.inner_text()
    assert panel.locator("details").evaluate("box => box.open") == (steps == 0)
    if steps:
        panel.locator("summary").click()
    assert panel.locator("tbody tr").count() == len(trace.failed.nodes)
    row = panel.locator("tbody tr").nth(1).inner_text()
    assert "not computed" in row
    assert panel.locator("text=began here").count() == len(trace.failed.nonfinite.first_nodes)
    assert panel.locator("tr.sv-bad").count() == len(trace.failed.nonfinite.first_nodes)
    assert ("no step that went through" in seen.page.inner_text("main")) == (steps == 0)
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    seen.page.screenshot(path=tmp_path / "failed.png")
    seen.finish()
