"""What a user sets of a head in place of what its files say: on the command line, the page and in Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoConfig

from specviz.app.page_state import models_of
from specviz.app.server.limits import Limits
from specviz.cli import main
from specviz.engine.session import Session
from specviz.errors import SettingsError
from specviz.models.head_options import heads_texts, set_by_hand
from specviz.models.pair_spec import ModelChoice
from specviz.trace.io import load_trace
from tests import head_files, tiny


def test_it_is_recorded_shown_and_asked_of_whoever_goes_on(tmp_path: Path) -> None:
    target, model = map(str, tiny.save_pair(tmp_path))
    files = head_files.eagle3(AutoConfig.from_pretrained(target), reads=(0, 1, 2))
    head = str(head_files.save_head(tmp_path / "head", files))
    names = ["--target", target, "--draft", head, "--device", "cpu"]
    by_hand = ["--head-reads", "2, 1,0", "--head-option", "norm_output=true", "--head-option", "position_offset=3"]
    more = ["--prompt", "the sea", "--max-new-tokens", "4", "-o", str(tmp_path / "t.json")]
    assert main(["record", *names, *by_hand, *more]) == 0
    trace = load_trace(tmp_path / "t.json")
    info = trace.models.draft.head
    assert info.by_hand == ("norm_output", "position_offset", "reads")
    assert (info.reads, info.options["norm_output"], info.options["position_offset"]) == ((2, 1, 0), True, 3)
    assert trace.steps[0].caches.draft.appended[0].position == trace.steps[0].context - 2 + 3

    shown = models_of(trace)
    assert (shown.head_reads, shown.head_options) == ("2,1,0", "norm_output=True,position_offset=3")
    again = replace(shown, target=target, draft=head, device="cpu")
    resumed = Session.resume(again.load(), trace, steps=1)
    list(resumed.run())
    assert resumed.trace.output_tokens() == trace.output_tokens()
    with pytest.raises(SettingsError, match="hidden states read"):
        Session.resume(replace(again, head_reads="").load(), trace)
    with pytest.raises(SettingsError, match="norm_output"):
        Session.resume(replace(again, head_options="position_offset=3").load(), trace)
    assert main(["record", "--target", target, "--draft", model, *by_hand, *more]) == 2
    with pytest.raises(SettingsError, match="runs heads as their files say"):
        Limits(public=True).check_models(ModelChoice(head_reads="1"))


def test_it_is_a_text_or_values() -> None:
    assert set_by_hand("2, 14", "a=1,b=false") == {"a": 1, "b": False, "reads": "2, 14"}
    assert set_by_hand((2, 14), {"a": 1}) == {"a": 1, "reads": "2,14"}
    assert heads_texts([], ["a=0.5", "c=x"]) == {"head_reads": "", "head_options": "a=0.5,c=x"}
    for reads, options in (("x", ""), ("1,,2", ""), ("", "norm_output")):
        with pytest.raises(SettingsError):
            set_by_hand(reads, options)
