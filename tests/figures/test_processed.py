"""What the page is told of processors."""

from __future__ import annotations

from functools import lru_cache

from specviz.engine.session import Session
from specviz.figures.frames import step_frame
from specviz.trace.processors import parse_processors
from specviz.trace.schema import Choice, ProcessorMode, Trace
from specviz.trace.settings import flat_settings
from tests.pairs import make_pair, make_settings


@lru_cache(maxsize=4)
def run(text: str, mode: ProcessorMode = "exact") -> Trace:
    settings = make_settings(processors=parse_processors(text, mode), max_new_tokens=8)
    session = Session(make_pair(), settings, "the sea the sea the")
    list(session.run())
    return session.trace


def test_the_frame_names_the_nodes_that_the_other_mode_decides_otherwise() -> None:
    trace = run("repetition_penalty:penalty=4")
    marked = 0
    for position, step in enumerate(trace.steps):
        frame = step_frame(trace, position)
        assert [round(x, 3) for x in frame["nodes"]["apart"]] == [round(n.processed.apart, 3) for n in step.tree.nodes]
        for told in frame["verdicts"]:
            other = step.verdicts[told["verifier"]].other_mode
            assert (told["otherMode"] is None) == (other is None)
            if other:
                assert told["otherMode"]["mode"] == "frozen"
                assert told["otherMode"]["nodes"] == list(other.nodes)
                marked += len(other.nodes)
    assert marked


def test_nothing_is_told_where_the_modes_agree_or_there_are_no_processors() -> None:
    frame = step_frame(run("suppress_tokens:tokens=5"), 0)
    assert {told["otherMode"] for told in frame["verdicts"]} == {None}
    assert max(frame["nodes"]["apart"]) == 0
    plain = step_frame(run(""), 0)
    assert plain["nodes"]["moved"] is None
    assert plain["nodes"]["apart"] is None


def test_no_check_is_shown_beside_rows_that_it_is_not_about() -> None:
    """The viewer finds what ``check`` says by this key. With frozen rows, or a class of the user's, that would be said
    of another law."""
    keys = []
    exact = run("repetition_penalty:penalty=4")
    chosen = exact.settings.processors.model_copy(update={"chosen": (Choice(name="my.module:Mine"),)})
    settings = exact.settings.model_copy(update={"processors": chosen})
    own = exact.model_copy(update={"settings": settings})
    for trace in (run(""), exact, run("repetition_penalty:penalty=4", "frozen"), own):
        keys.append([told["optionsKey"] for told in step_frame(trace, 0)["verdicts"]])
    plain, processed, frozen, of_user = keys
    assert processed == plain
    assert None not in plain
    assert {*frozen, *of_user} == {None}


def test_settings_in_words_have_the_processors() -> None:
    flat = flat_settings(run("suppress_tokens:tokens=5").settings)
    assert flat["processors.suppress_tokens"] == "tokens=5"
    assert flat["processors.mode"] == "exact"
    assert not any(name.startswith("processors") for name in flat_settings(run("").settings))
