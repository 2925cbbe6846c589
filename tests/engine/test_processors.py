"""Processors on a tree: rows, greedy decoding, what is recorded, and what is refused."""

from __future__ import annotations

from functools import lru_cache
from unittest.mock import patch

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessor

from specviz.app.form import PROCESSOR_NAMES
from specviz.digits import digits
from specviz.engine.resolve import resolve
from specviz.engine.session import Session
from specviz.engine.whatif.by_models import through_models
from specviz.errors import NumericsError, SettingsError
from specviz.models.loading import Pair
from specviz.models.processors import KINDS, About, load_processor, make_processing
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.processors import parse_processors, written
from specviz.trace.schema import Choice, ProcessorMode, Processors, Sampling, Settings, Trace
from specviz.trace.summary import summary
from specviz.trace.whatif_question import Question
from specviz.tree import TokenTree
from specviz.verifiers import proof_table
from tests.pairs import TREES, make_pair, make_settings
from tests.paths import DOCS
from tests.tools.processors_greedy import TEXT, Penalties, differing

PROMPT = "the sea the sea the"
CASES = {
    "logit_bias": ("logit_bias:bias=12:1.5 20+21:4", {"sequence_bias": [[[12], 1.5], [[20, 21], 4.0]]}),
    "repetition_penalty": ("repetition_penalty:penalty=1.7", {"repetition_penalty": 1.7}),
    "no_repeat_ngram": ("no_repeat_ngram:size=1", {"no_repeat_ngram_size": 1}),
    "min_new_tokens": ("min_new_tokens:count=2", {"min_new_tokens": 2}),
    "suppress_tokens": ("suppress_tokens:tokens=13 200", {"suppress_tokens": [13, 200]}),
    "ignore_eos": ("ignore_eos", {"suppress_tokens": [0]}),
    "presence_penalty": ("presence_penalty:penalty=1.5", {"presence": 1.5}),
    "frequency_penalty": ("frequency_penalty:penalty=0.9", {"frequency": 0.9}),
    "min_p": ("min_p:min_p=0.2", {"min_p": 0.2}),
    "user's": (f"{__name__}:Doubled:by=3", {"by": 3.0}),
    "several": (
        "min_p:min_p=0.1; frequency_penalty:penalty=0.4; suppress_tokens:tokens=13; repetition_penalty:penalty=1.3; "
        "logit_bias:bias=267:4",  # of a token of the prompt, so that it counts which of the two comes first
        {
            "min_p": 0.1,
            "frequency": 0.4,
            "repetition_penalty": 1.3,
            "suppress_tokens": [13],
            "sequence_bias": [[[267], 4.0]],
        },
    ),
}
WIDE = Choice(name="k_config", options={"tree": "8,1", "proposal": "top_k"})
SAMPLING = Sampling(temperature=0.8, top_k=60, top_p=0.95)


class Doubled(LogitsProcessor):
    """Adds ``by`` to the token that the text ends in."""

    def __init__(self, by: float):
        self.by = float(by)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[torch.arange(len(scores)), input_ids[:, -1]] += self.by  # in place, as a user's class may
        return scores


@pytest.fixture(autouse=True)
def loaded() -> None:
    load_processor(f"{__name__}:Doubled")


@lru_cache(maxsize=500)
def plain_logits(text: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        return make_pair(end_tokens=(0,)).target.model(input_ids=torch.tensor([text])).logits[0, -1:].clone()


def reference(tree: TokenTree, options: dict, mode: ProcessorMode, prompt: int) -> torch.Tensor:
    """One plain forward a path, then the processors that transformers' generate makes of the options."""
    own = {name: options[name] for name in ("presence", "frequency") if name in options}
    custom = [Penalties(prompt, own.get("presence", 0.0), own.get("frequency", 0.0))] if own else []
    custom += [Doubled(options["by"])] if "by" in options else []
    sampling = {"temperature": SAMPLING.temperature, "top_k": SAMPLING.top_k, "top_p": SAMPLING.top_p}
    config = GenerationConfig(
        do_sample=True, **sampling, **{k: v for k, v in options.items() if k not in ("presence", "frequency", "by")}
    )
    config._eos_token_tensor = torch.tensor([0])
    chain = make_pair(end_tokens=(0,)).target.model._get_logits_processor(config, prompt, logits_processor=custom)
    rows = []
    for node in range(len(tree)):
        text = tree.committed + tuple(tree.tokens[other] for other in tree.shape.path(node))
        seen = text if mode == "exact" else tree.committed
        rows.append(torch.softmax(chain(torch.tensor([seen]), plain_logits(text).clone()), -1))
    return torch.cat(rows)


@pytest.mark.parametrize("tree", ["4,2,2", "dynamic"])
@pytest.mark.parametrize("mode", ["exact", "frozen"])
@pytest.mark.parametrize("case", CASES)
def test_rows_are_those_of_one_forward_a_path_and_transformers_processors(
    case: str, mode: ProcessorMode, tree: str
) -> None:
    text, options = CASES[case]
    pair = make_pair(end_tokens=(0,))
    settings = make_settings(
        tree, target=SAMPLING, processors=parse_processors(text, mode), verifiers=(Choice(name="rejection"),)
    )
    session = Session(pair, settings, PROMPT)
    seen: list[tuple[TokenTree, torch.Tensor]] = []
    session.watch = lambda tree, probs, _: seen.append((tree, probs.clone()))
    list(session.run(1))
    for grown, probs in seen:
        expected = reference(grown, options, mode, len(session.prompt_tokens))
        torch.testing.assert_close(probs, expected, atol=2e-5, rtol=0)


def test_many_rows_are_processed_in_parts_and_each_by_its_own_text() -> None:
    about = About(prompt=2, end_tokens=frozenset(), vocabulary=50, device="cpu")
    processing = make_processing(parse_processors("repetition_penalty:penalty=3"), about)
    logits = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    paths = [(token,) for token in range(40)]
    found = processing.rows(logits, (1, 2), paths, SAMPLING)
    for row, path in enumerate(paths):
        alone = processing.rows(logits[row : row + 1], (1, 2), [path], SAMPLING)[0]
        torch.testing.assert_close(found[row], alone, atol=1e-6, rtol=0)


def test_every_processor_is_among_the_cases() -> None:
    assert set(KINDS) <= set(CASES)
    assert tuple(KINDS) == PROCESSOR_NAMES, "what the page names"


def test_greedy_is_generate_with_the_same_processors() -> None:
    pair = make_pair(end_tokens=(0,))
    trees = [TREES["4,2,2"], TREES["dynamic"]]
    differ, accepted = differing(pair, ("the sea", "one one one one", "the the the"), trees, most=14)
    assert differ == []
    assert accepted > 10


def test_frozen_is_another_text_than_generate_and_says_so() -> None:
    pair = make_pair(scale=0.05)
    first, second = greedy_start(pair, None)
    assert second != 5
    text = f"logit_bias:bias={first}+5:100"  # after the first token of the output always 5
    assert greedy_start(pair, parse_processors(text)) == (first, 5)
    assert greedy_start(pair, parse_processors(text, "frozen")) == (first, second)


def greedy_start(pair: Pair, processors: Processors | None) -> tuple[int, int]:
    session = Session(pair, make_settings(WIDE, target=Sampling(temperature=0.0), processors=processors), PROMPT)
    step = session.step()
    assert step.verdicts["rejection"].path, "the first token was drafted"
    said = {verdict.lossless for verdict in step.verdicts.values()}
    if processors and processors.mode == "frozen":
        assert said <= {"no", "not proved"}
    a, b = (*step.committed, *(session.step().committed if len(step.committed) < 2 else ()))[:2]
    return a, b


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("repetition_penalty", "exact", "yes"),
        ("repetition_penalty", "frozen", "no"),
        (f"repetition_penalty; {__name__}:Doubled:by=1", "exact", "not proved"),
        ("suppress_tokens:tokens=5", "frozen", "yes"),
        ("repetition_penalty:penalty=1; presence_penalty:penalty=0; frequency_penalty:penalty=0", "frozen", "yes"),
        (f"{__name__}:Doubled:by=1", "exact", "not proved"),
        (f"{__name__}:Doubled:by=1", "frozen", "not proved"),
    ],
)
def test_what_is_said_of_a_lossless_verifier(text: str, mode: ProcessorMode, says: str) -> None:
    with patch.object(proof_table, "says", lambda *_: "yes"):
        step = Session(make_pair(), settings_of(text, mode), PROMPT).step()
    assert step.verdicts["rejection"].lossless == says


@lru_cache(maxsize=8)
def run(text: str, mode: ProcessorMode = "exact", draft: bool = False, **fields: object) -> Trace:
    session = Session(make_pair(), settings_of(text, mode, draft, **fields), PROMPT)
    list(session.run())
    return session.trace


def settings_of(text: str, mode: ProcessorMode = "exact", draft: bool = False, **fields: object) -> Settings:
    text = text.replace("min_new_tokens:count=12; ", "")  # this pair has no end tokens
    return make_settings(processors=parse_processors(text, mode, draft=draft), **({"max_new_tokens": 8} | fields))


def test_both_modes_and_what_they_decide_are_recorded_and_read_again() -> None:
    trace = run("repetition_penalty:penalty=4")
    steps = parse_trace(dump_trace(trace)).steps
    assert steps == trace.steps
    nodes = [node for step in steps for node in step.tree.nodes]
    assert all(node.processed is not None for node in nodes)
    assert all(node.processed.apart == 0 for node in nodes if node.depth == 0)
    assert any(node.processed.apart > 0.1 for node in nodes)
    assert all(node.processed.moved > 0 for node in nodes)
    others = [verdict.other_mode for step in steps for verdict in step.verdicts.values() if verdict.other_mode]
    assert others
    assert any(other.nodes for other in others)
    apart = max(node.processed.apart for node in nodes)
    names = list(steps[0].verdicts)
    counts = ", ".join(
        f"{name} in {sum(step.verdicts[name].other_mode is not None for step in steps)}" for name in names
    )
    said = summary(trace)
    assert "processors: repetition_penalty:penalty=4, exact; total variation" in said
    assert f"{digits(apart, 2)} at most (step" in said
    assert f"with frozen rows and the same luck another outcome, of {len(steps)} steps: {counts}\n" in said
    assert "lossless" not in said
    assert "no verifier is lossless" in summary(run("repetition_penalty:penalty=4", "frozen"))
    assert "rows are the same at every node" in summary(run("min_p:min_p=0.2", "frozen"))


def test_what_processors_moved_is_beside_the_sampling_parameters() -> None:
    """A processor that does nothing moved nothing, however much top-k and temperature did."""
    nodes = [node for step in run("min_p:min_p=0", target=SAMPLING).steps for node in step.tree.nodes]
    assert max(node.processed.moved for node in nodes) < 1e-6


def test_the_other_mode_is_what_a_run_in_that_mode_does() -> None:
    exact, frozen = run("repetition_penalty:penalty=4"), run("repetition_penalty:penalty=4", "frozen")
    for name, verdict in exact.steps[0].verdicts.items():
        there = frozen.steps[0].verdicts[name]
        told = verdict.other_mode
        path, bonus = (told.path, told.bonus) if told else (verdict.path, verdict.bonus.token)
        assert (path, bonus) == (there.path, there.bonus.token)


def test_processed_rows_are_recorded_beside_the_raw_ones() -> None:
    row = run("suppress_tokens:tokens=13 200; logit_bias:bias=7:50").steps[0].tree.nodes[0].target
    assert row.processed.ids[0] == 7
    assert 7 not in row.raw.ids[:1]


def test_a_processed_draft_proposes_nothing_that_is_banned() -> None:
    first = run("no_repeat_ngram:size=1", draft=True).steps
    for step in first:
        known = set(run("no_repeat_ngram:size=1", draft=True).prompt_tokens)
        assert not known & {node.token for node in step.tree.nodes[1:]}
    plain = run("no_repeat_ngram:size=1").steps
    assert [n.draft_prob for n in plain[0].tree.nodes] != [n.draft_prob for n in first[0].tree.nodes]


def test_a_step_is_judged_again_with_the_processors() -> None:
    trace = run("repetition_penalty:penalty=4", draft=True)
    answer = through_models(make_pair(), trace, 1, Question(Choice(name="rejection")))
    assert answer.path == trace.steps[1].verdicts["rejection"].path
    assert answer.difference < 1e-4


def test_a_run_goes_on_as_it_would_have() -> None:
    trace = run("frequency_penalty:penalty=2")
    again = Session.resume(make_pair(), trace, steps=2)
    list(again.run())
    assert again.trace.output_tokens() == trace.output_tokens()


def test_without_processors_a_file_has_no_word_of_them() -> None:
    session = Session(make_pair(), make_settings(max_new_tokens=4), PROMPT)
    list(session.run())
    data = dump_trace(session.trace).decode()
    assert not any(word in data for word in ('"processors"', '"other_mode"', '"apart"'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "There is no processor 'nothing'; there are logit_bias"),
        ("min_p; min_p", "given twice"),
        ("min_p:min_p=2", "cannot use option min_p=2"),
        ("a b", "not of the form name:option=value"),
        ("os:system", "is code, which only"),
        ("suppress_tokens", "names 0 tokens"),
        ("suppress_tokens:tokens=99999", "names token 99999"),
        ("suppress_tokens:tokens=x", "ids with spaces"),
        ("suppress_tokens:tokens=5,17", "'17' is not of the form name=value; .*has spaces between its entries"),
        ("repetition_penalty:1.2", "'1.2' is not of the form name=value"),
        (f"{__name__}:Doubled", "missing a required argument: 'by'; its options are: by"),
        (f"{__name__}:Doubled:by=1,twice=2", "unexpected keyword argument 'twice'; its options are: by"),
        ("logit_bias:bias=5", "not of the form token:bias"),
        ("logit_bias:bias=5:nan", "not of the form token:bias"),
        ("ignore_eos", "about end tokens"),
        ("; ".join(["min_p"] * 17), "17 processors"),
    ],
)
def test_what_no_run_can_have_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Session(make_pair(), make_settings(processors=parse_processors(text)), PROMPT)


def test_a_processor_that_leaves_no_token_ends_the_run_in_one_sentence() -> None:
    banned = " ".join(f"{token}:-1000" for token in range(5))
    session = Session(make_pair(), settings_of(f"logit_bias:bias={banned}; {__name__}:Doubled:by=1"), PROMPT)
    session._processing.processors[1].function.by = float("nan")
    with pytest.raises(NumericsError, match="Doubled gives scores that are no numbers"):
        session.step()
    assert session.failed is not None


@pytest.mark.parametrize("mode", ["exact", "frozen"])
@pytest.mark.parametrize("draft", [False, True])
def test_a_text_that_leaves_no_token_ends_a_run_only_where_it_is_committed(mode: ProcessorMode, draft: bool) -> None:
    kept = {5, 6, 7}
    banned = " ".join(str(token) for token in range(make_pair().target.vocabulary) if token not in kept)
    text = f"suppress_tokens:tokens={banned}; no_repeat_ngram:size=1"  # each of the three once, then nothing
    session = Session(make_pair(), settings_of(text, mode, draft, max_new_tokens=3), "the sea")
    list(session.run())
    assert session.end_reason == "max_new_tokens"
    assert mode == "frozen" or set(session.tokens[-3:]) == kept
    if mode == "exact":
        if draft:  # the row after all three of them is the one without processors
            assert any(node.processed.moved == 0 for step in session.steps for node in step.tree.nodes)
        longer = Session(make_pair(), settings_of(text, mode, draft, max_new_tokens=4), "the sea")
        with pytest.raises(NumericsError, match="suppress_tokens leaves no token to choose"):
            list(longer.run())
        assert longer.end_reason == "error"


class Wider(LogitsProcessor):
    """In float64, or in whole numbers."""

    def __init__(self, to: str):
        self.to = getattr(torch, to)

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.to(self.to)


def test_scores_of_another_format_are_taken_and_what_is_none_is_refused() -> None:
    load_processor(f"{__name__}:Wider")
    wide = run(f"{__name__}:Wider:to=float64")
    assert wide.output_tokens() == run("").output_tokens()
    with pytest.raises(NumericsError, match="no scores of the shape and kind"):
        run(f"{__name__}:Wider:to=long")


@pytest.mark.parametrize("text", ["suppress_tokens:tokens=a", "logit_bias:bias=5"])
def test_what_no_models_can_have_is_refused_before_any_are_loaded(text: str) -> None:
    with pytest.raises(SettingsError, match=r"ids with spaces|not of the form token:bias"):
        resolve(make_settings(processors=parse_processors(text)))


def test_an_option_without_a_value_is_no_class() -> None:
    with pytest.raises(SettingsError, match="write repetition_penalty:penalty=VALUE"):
        load_processor("repetition_penalty:penalty")


def test_the_text_of_processors_is_read_back() -> None:
    found = parse_processors(TEXT)
    assert parse_processors(written(found.chosen)) == found
    assert parse_processors(" ; ") is None


def test_the_documentation_shows_the_example_as_it_is_and_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    source = (DOCS / "examples" / "my_processor.py").read_text(encoding="utf-8")
    assert source in (DOCS / "processors.md").read_text(encoding="utf-8")
    load_processor("my_processor:RecencyPenalty")
    step = Session(make_pair(), settings_of("my_processor:RecencyPenalty:penalty=50,window=1"), PROMPT).step()
    for node in step.tree.nodes:
        likely = dict(zip(node.target.processed.ids, node.target.processed.probs, strict=True))
        assert likely.get(node.token, 0) < 1e-9, "a text that ends in a token does not go on with it"
