"""What moves after a step or a phase, in Chromium: by transform and opacity alone, and only at leisure."""

from __future__ import annotations

import pytest

from tests.sample_traces import sample_trace

pytestmark = pytest.mark.browser
MOVES = """async ([keys, repeat, ms]) => {
    window.now = (window.now || 0) + ms;
    performance.now = () => window.now;
    for (const key of keys) document.body.dispatchEvent(new KeyboardEvent('keydown', {key, repeat, bubbles: true}));
    document.body.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));
    await new Promise(requestAnimationFrame);
    const own = ['computedOffset', 'offset', 'easing', 'composite'];
    return {
        drawn: document.querySelector('.sv-root').dataset.drawn.split('/').slice(1).join('/'),
        moves: document.getAnimations().map(one => one.id || one.animationName || one.transitionProperty).sort(),
        by: [...new Set(document.getAnimations().flatMap(one => one.effect.getKeyframes().flatMap(Object.keys)))]
            .filter(name => !own.includes(name)).sort(),
        opacity: Number(getComputedStyle(document.querySelector('.sv-stage')).opacity),
    };
}"""
"""Script: press keys so many milliseconds after the ones before, by a clock of its own; what the next frame shows and
what moves in it."""


def moves(seen, *keys: str, repeat: bool = False, after: int = 250) -> dict:
    return seen.page.evaluate(MOVES, [list(keys), repeat, after])


def test_what_moves_names_itself_and_moves_by_transform_and_opacity(from_file):
    trace = sample_trace(steps=8, seed=3)
    seen = from_file(trace)
    page = seen.page
    step = moves(seen, "ArrowRight")
    assert step["drawn"] == "1/"
    assert step["moves"] == ["spine", "step", "step"]
    assert step["by"] == ["opacity", "transform"]
    assert step["opacity"] > 0.2, "the new step is seen in the first frame"
    quick = moves(seen, "ArrowRight", "ArrowRight")
    assert (quick["drawn"], quick["moves"]) == ("3/", [])
    first = moves(seen, "ArrowRight")
    assert first["moves"]
    second = moves(seen, "ArrowRight", after=249)
    assert (second["drawn"], second["moves"]) == ("5/", []), "what was still moving is at its place"
    held = moves(seen, "ArrowRight", repeat=True)
    assert (held["drawn"], held["moves"]) == ("6/", [])

    phases = page.locator(".sv-dot").count()
    into = moves(seen, *["."] * (phases - 1), ",", after=0)
    assert into["moves"] == []
    words = len(trace.steps[6].committed)
    assert page.locator("[data-phase=verdict]").count() == 1
    commit = moves(seen, ".")
    assert commit["moves"] == ["word"] * words
    assert commit["by"] == ["transform"]
    page.locator(".sv-flying").first.wait_for(state="detached")
    back = moves(seen, ",", ".")
    assert back["moves"] == []
    cache = moves(seen, ".")
    assert set(cache["moves"]) == {"kept", "cut"}
    assert cache["by"] == ["opacity", "transform"]


def test_nothing_moves_where_less_motion_is_asked_for(from_file):
    seen = from_file(sample_trace(steps=3, seed=3), reduced_motion="reduce")
    assert moves(seen, "ArrowRight") == {"drawn": "1/", "moves": [], "by": [], "opacity": 1}
    last = moves(seen, ".")
    while not last["drawn"].startswith("2/"):
        assert last["moves"] == []
        last = moves(seen, ".", after=0)
