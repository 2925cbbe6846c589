"""What leaves the page: tables as CSV, figures, embedded pages and prints, in Chromium."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from specviz.figures import step_frame
from specviz.figures.export import standalone_page
from specviz.trace.schema import TokenText
from tests.browser import Watched, open_table
from tests.sample_traces import HOSTILE, RULES, sample_trace

pytestmark = pytest.mark.browser
WORDS = ("=HYPERLINK(1)", "+1+1", "@SUM", "-2+3", "a,b", 'say "so"', "moon")
FORMULAS = tuple(TokenText(id=number, text=text) for number, text in enumerate(WORDS))
KEEP = """() => {
    window.copied = [];
    const clipboard = { writeText: async (text) => copied.push(text) };
    Object.defineProperty(navigator, "clipboard", { configurable: true, value: clipboard });
}"""
TABLE = "[aria-label='Draft tree as a table']"


# ------------------------------------------------------------------------------------------------------ tables


def test_a_table_sorts_filters_and_leaves_as_csv(from_file):
    trace = sample_trace(steps=2, tokens=FORMULAS, seed=1)
    frame = step_frame(trace, 0)
    seen = from_file(trace)
    page = seen.page
    page.evaluate(KEEP)
    rows = open_table(seen, TABLE, "Draft tree as a table")
    assert rows.count() == len(frame["nodes"]["p"])
    page.click(f"{TABLE} th button:has-text('Target prob.')")
    page.click(f"{TABLE} th[aria-sort=ascending] button")
    page.wait_for_selector(f"{TABLE} th[aria-sort=descending]:has-text('Target prob.')")
    page.click(f"{TABLE} [data-act=copy-csv]")
    page.wait_for_function("copied.length === 1")
    head, *lines = csv.reader(io.StringIO(page.evaluate("copied[0]")))
    assert head[:7] == ["Node", "Token", "Parent", "Depth", "Draw rank", "Draft prob.", "Target prob."]
    assert [float(line[6]) for line in lines[:-1]] == sorted((p for p in frame["nodes"]["p"] if p is not None), reverse=True)
    assert lines[-1][6] == "–", "the root has no probability, and stands at the end"
    tokens = {line[0]: line[1] for line in lines}
    for node, label in enumerate(frame["nodes"]["text"]):
        assert tokens[str(node)] == (f"'{label}" if label[0] in "=+-@" else label)
    assert any(token.startswith("'=") for token in tokens.values())

    page.fill(f"{TABLE} input[type=search]", "MOON")
    shown = [node for node, label in enumerate(frame["nodes"]["text"]) if "moon" in label]
    assert rows.locator("visible=true").count() == len(shown) > 0
    page.click(f"{TABLE} [data-act=copy-csv]")
    page.wait_for_function("copied.length === 2")
    assert len(list(csv.reader(io.StringIO(page.evaluate("copied[1]"))))) == 1 + len(shown)
    page.locator(f"{TABLE} input[type=search]").blur()
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 2)
    page.wait_for_selector(f"{TABLE} th[aria-sort=descending]:has-text('Target prob.')")
    assert page.input_value(f"{TABLE} input[type=search]") == "MOON", "what was chosen holds for the next step"
