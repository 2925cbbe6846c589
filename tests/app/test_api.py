"""Calls made by hand: every handler of the page with what no browser sends, and what of the page has a name."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.block_function import BlockFunction
from gradio.route_utils import PredictBody, get_fn
from gradio.state_holder import SessionState

from specviz.app.blocks import Page, asked_for, position_of
from specviz.app.compare.store import ComparisonStore
from specviz.app.page import build_page
from specviz.app.page_state import PageState
from specviz.app.proofs import Proofs
from specviz.app.server.limits import Limits
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.errors import ModelError
from tests import pairs
from tests.paths import ROOT
from tests.sample_traces import sample_trace
from tests.server import launch_quietly

NAN = float("nan")
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, NAN, float("-inf"), 2**70, "", "x", "٣", "\ud800", "<img src=x onerror=alert(1)>", [],
    ["x", None], [[]], {}, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, {"__type__": "update"},
)  # fmt: skip


class NoProofs(Proofs):
    def start(self, names: Any = None) -> None:
        """Enumeration takes a minute and is tested elsewhere."""


def refuse(**_: object) -> None:
    raise ModelError("No model is loaded here.")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("held")
    return build_page(
        Sessions(refuse), sample_trace(steps=2), ShareStore(folder), NoProofs(), ComparisonStore(shipped=folder)
    )


def call(page: Page, event: BlockFunction, inputs: list[Any], sent: Any, state: SessionState | None = None) -> Any:
    """A call as the server makes it, to its last answer."""
    session = state or SessionState(page)
    request = gr.Request(session_hash="by-hand", query_params={"trace": "../../etc/passwd", "step": "x"}, headers={})

    async def whole() -> Any:
        iterator = None
        for _ in range(50):
            answer = await page.process_api(
                event,
                list(inputs),
                state=session,
                request=request,
                iterator=iterator,
                session_hash="by-hand",
                event_id="1",
                event_data=gr.EventData(None, sent),
            )
            iterator = answer["iterator"]
            if not answer["is_generating"]:
                return answer["data"]
        raise AssertionError("it does not end")

    return asyncio.run(whole())


def plain_inputs(event: BlockFunction) -> list[Any]:
    """What a page sends that nobody has touched."""
    return [None if one.stateful else getattr(one, "value", None) for one in event.inputs]


def by_hand(event: BlockFunction) -> Iterator[tuple[list[Any], Any]]:
    """(inputs, what comes with the event) as no browser sends them."""
    plain, run = plain_inputs(event), sample_trace(steps=2).id
    yield plain, None
    yield plain[:-1], {}
    yield [*plain, *HOSTILE], {}
    if "event" in inspect.signature(event.fn).parameters:
        for value in HOSTILE:
            yield plain, value
            yield plain, {"run": run, "step": value, "steps": value, "verifier": value, "section": value, "data": value}
            yield plain, {"run": value, "name": value, "section": "figure", "data": [value] * 3}
    # Forms are long and their values have tests of their own: here some inputs meet some values, all meet one.
    sent = [place for place, one in enumerate(event.inputs) if not one.stateful]
    values = itertools.cycle(HOSTILE)
    for place in itertools.islice(itertools.cycle(sent), len(HOSTILE) if len(sent) < 5 else 30 if sent else 0):
        yield [*plain[:place], next(values), *plain[place + 1 :]], {}


def handlers(page: Page) -> list[BlockFunction]:
    """One event for each function, since several call the same."""
    return list({event.fn: event for event in page.fns.values() if event.fn is not None}.values())


def said_by(page: Page, event: BlockFunction, inputs: list[Any], sent: Any, state: SessionState) -> tuple[str, bool]:
    """What a call says, and whether it was refused as a whole."""
    try:
        return json.dumps(call(page, event, inputs, sent, state), default=str), False
    except gr.Error as error:
        return error.message + "\n" * error.print_exception, True


def test_every_handler_answers_whatever_is_sent_or_says_one_sentence(
    page: Page, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    called = {"answered": 0, "refused": 0}
    for event in handlers(page):
        state = SessionState(page)
        for inputs, sent in by_hand(event):
            said, refused = said_by(page, event, inputs, sent, state)
            where = f"{event.fn} with {inputs!r:.300} and {sent!r:.200}: {said:.400}"
            assert "Something is wrong in specviz" not in said, where
            if refused:
                assert "\n" not in said, where
                assert 10 < len(said) <= 400, where
                assert "<" not in said, where
            called["refused" if refused else "answered"] += 1
    assert min(called.values()) > 200, called
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_in_a_handler_is_a_sentence_and_its_trace_is_logged_without_what_was_sent(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with Page(Limits(), analytics_enabled=False) as broken:
        box = gr.Textbox("")
        box.submit(lambda text: [][5], box, box)
    (event,) = broken.fns.values()
    with pytest.raises(gr.Error) as caught:
        call(broken, event, ["a secret"], None)
    assert caught.value.message == "Something is wrong in specviz (IndexError); see the server's log."
    assert not caught.value.print_exception
    assert "IndexError" in caplog.text
    assert "a secret" not in caplog.text + capsys.readouterr().err


def test_what_comes_with_an_event_is_an_object_or_nothing() -> None:
    for value in HOSTILE:
        assert isinstance(asked_for(gr.EventData(None, value)), dict)
    assert asked_for(gr.EventData(None, {"run": 1})) == {"run": 1}
    assert [position_of(value) for value in HOSTILE if position_of(value) is not None] == [0]


def test_a_public_handler_meets_the_limits_by_name(page: Page) -> None:
    event = get_fn(page, "run", PredictBody(data=[]))
    inputs = plain_inputs(event)
    place = [one.label for one in event.inputs].index("Steps a run")
    inputs[place] = page.limits.steps + 1
    text = call(page, event, inputs, None)[0]
    assert "A click runs 1 to 1,000 steps" in json.loads(text)["notice"]["text"]


# ---------------------------------------------------------------------------------------------------- what there is


def documented() -> dict[str, str]:
    """Endpoint -> its section in the documents."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## `(/\w+)`\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S))


def rows(section: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.M)


def test_the_documented_endpoints_are_those_that_have_a_name(page: Page) -> None:
    info = page.get_api_info()
    assert set(info["named_endpoints"]) == set(documented())
    assert not info["unnamed_endpoints"]
    named = {f"/{event.api_name}" for event in page.fns.values() if event.api_name is not None}
    assert named == set(documented())


def test_every_input_is_documented_under_its_name(page: Page) -> None:
    inputs = rows(documented()["/step"])
    for name, endpoint in page.get_api_info()["named_endpoints"].items():
        given = [one["parameter_name"] for one in endpoint["parameters"]]
        assert len(set(given)) == len(given)
        own = rows(documented()[name])
        assert given == (own + inputs if name == "/run" else own), name


FIRST = """
    prompt target draft chat target_quantization draft_quantization device dtype allow_renamed_tokens builder
    builder_k_config_tree builder_k_config_proposal builder_explicit_paths builder_explicit_proposal
    builder_dynamic_rule builder_dynamic_top_k builder_dynamic_depth builder_dynamic_total
    builder_dynamic_threshold builder_sequoia_acceptance builder_sequoia_total builder_sequoia_depth
    builder_sequoia_proposal builder_prompt_lookup_ngram builder_prompt_lookup_places builder_prompt_lookup_depth
    verifiers driver verifier_eta_epsilon verifier_eta_delta verifier_eta_select temperature top_k top_p
    eta_cutoff seed max_new_tokens draft_temperature prompt_end_token audit stop_parting stop_nothing_accepted
    stop_audit stop_text stop_token stop_entropy_above stop_target_prob_below
"""
"""The inputs of /step before any were added, in their order."""


def test_inputs_that_were_added_come_after_those_that_programs_send_without_names(page: Page) -> None:
    given = [one["parameter_name"] for one in page.get_api_info()["named_endpoints"]["/step"]["parameters"]]
    assert given[: len(FIRST.split())] == FIRST.split()


def test_private_events_have_no_name_and_cannot_be_called_by_one(page: Page) -> None:
    private = [event for event in page.fns.values() if event.api_visibility == "private"]
    assert len(private) > 30
    assert {event.api_visibility for event in page.fns.values()} == {"public", "private"}
    for event in private:
        assert event.api_name is None
    # What Gradio would have called them.
    for name in (
        "on_fork",
        "on_hold",
        "on_what_if",
        "on_upload",
        "on_save_page",
        "on_small_comparison",
        "lambda",
        "None",
        "false",
        "",
    ):
        with pytest.raises(Exception, match="Could not infer"):
            get_fn(page, name, PredictBody(data=[]))
    listed = page.get_config_file()["dependencies"]
    assert sum(one["api_name"] is not None for one in listed) == len(documented())


def test_the_page_keeps_a_desk_of_its_own_for_whoever_calls_by_name(page: Page) -> None:
    event = get_fn(page, "new", PredictBody(data=[]))
    text, _ = call(page, event, plain_inputs(event), None)
    assert "new run from the prompt" in json.loads(text)["notice"]["text"]
    assert not [one for one in vars(page).values() if isinstance(one, PageState)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page that is served, on small random models."""
    share_store = ShareStore(tmp_path_factory.mktemp("served"))
    served = build_page(Sessions(lambda **_: pairs.make_pair()), sample_trace(), share_store, NoProofs())
    yield launch_quietly(served)
    served.close()


def test_the_example_of_the_documents_runs(url: str) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.S)
    assert code is not None
    said: list[Any] = []
    exec(code.group(1).replace("http://127.0.0.1:7860", url), {"print": said.append})
    assert said == [2, 3]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("call/fork", {"data": []}),
        ("call/None", {"data": []}),
        ("call/v2/fork", {}),
        ("run/fork", {"data": []}),
        ("queue/join", {"data": [], "fn_index": 9_999, "session_hash": "by-hand"}),
        ("queue/join", {"data": [], "fn_index": -1, "session_hash": "by-hand"}),
    ],
)
def test_what_has_no_name_is_a_sentence_on_the_network_too(
    url: str, path: str, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    answer = httpx.post(f"{url}/gradio_api/{path}", json=body, timeout=60)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is nothing of this name or number; see docs/api.md for what there is."}
    assert "Traceback" not in caplog.text
