"""What somebody has sent stays data in the sentences that name it."""

from __future__ import annotations

import pytest

from specviz.errors import SettingsError, plain
from specviz.trace.settings import build_choice


@pytest.mark.parametrize("name", ["eta", "longest_path", "first-layer.weight", "größe"])
def test_a_name_that_needs_no_quotes_has_none(name):
    assert plain(name) == name


@pytest.mark.parametrize("name", ["", "two words", "a\nb", "\n\n\r\n", "a\u202eb", "<b>", "x" * 300, "%s{0}", "'"])
def test_any_other_is_quoted_on_one_line(name):
    told = plain(name)
    assert told.startswith(("'", '"'))
    assert "\n" not in told
    assert "\u202e" not in told
    assert len(told) <= 60


def test_the_sentence_about_a_number_is_one_line_whatever_the_option_is_called():
    with pytest.raises(SettingsError) as caught:
        build_choice("\n\n\r\n", {"%s%n{0}\n": float("inf")})
    assert str(caught.value) == r"The option '%s%n{0}\n' of '\n\n\r\n' must be a finite number."
