"""How fast the page answers: ``python -m tests.tools.page_bench`` prints a table and asserts nothing.

A real key press in Chromium, over the exported HTML file of a synthetic run with six verifiers. The clock starts at the
time stamp of the key event and stops after the frame in which the tree stood repainted; all other panels are part of
the page as they are for a reader. Numbers belong to the machine they were taken on: close other work first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from specviz.figures import dump_block, standalone_page, step_frame
from specviz.trace.schema import Trace
from tests.browser import QUIET, find_chromium
from tests.sample_traces import RULES, k_config, random_tree, sample_trace

SIZES = (28, 256, 1024)
LIMITS_MS = {28: 60, 256: 120, 1024: 150}
LIMITS_KB = {28: 60, 256: 200, 1024: 400}
STEPS = 12
WATCH = """() => {
    const root = document.querySelector('.sv-root'), channel = new MessageChannel();
    let pressed = null;
    window.moves = [];
    addEventListener('keydown', (event) => { pressed = event.timeStamp; }, true);
    // The tree is drawn in an animation frame; a message sent from there is received after that frame was painted.
    const tell = () => pressed !== null && channel.port2.postMessage(0);
    new MutationObserver(tell).observe(root, { attributeFilter: ['data-drawn'] });
    channel.port1.onmessage = () => {
        if (pressed === null) return;  // a second drawing: the place of the tree has another size in this step
        window.moves.push(performance.now() - pressed);
        pressed = null;
    };
}"""


def bench_trace(size: int, steps: int = STEPS) -> Trace:
    """A run over trees of ``size`` drafted tokens: the default shape for 28, heterogeneous ones above."""
    parents = k_config(4, 2, 2) if size == 28 else random_tree(size + 1)
    return sample_trace(parents, steps=steps, verifiers=tuple(RULES))


def time_moves(browser, trace: Trace, moves: int, pause_ms: int) -> list[float]:
    """Milliseconds of every move, walking to and fro through the run with the arrow keys."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.html")
        path.write_text(standalone_page(trace, theme="light"), encoding="utf-8")
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(path.as_uri())
        page.wait_for_selector("[data-painted]")
        page.wait_for_timeout(1000)
        page.evaluate(WATCH)
        steps = len(trace.steps)
        for move in range(moves):
            forward = (move // (steps - 1)) % 2 == 0
            page.keyboard.press("ArrowRight" if forward else "ArrowLeft")
            page.wait_for_function("count => window.moves.length === count", arg=move + 1, polling=20)
            page.wait_for_timeout(pause_ms)
        measured: list[float] = page.evaluate("window.moves")
        page.close()
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="drafted tokens of the trees")
    parser.add_argument("--moves", type=int, default=100)
    parser.add_argument("--pause", type=int, default=150, help="milliseconds between two key presses")
    args = parser.parse_args()

    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        raise SystemExit("Chromium is not installed.")
    print("key press to repainted tree, in milliseconds; bytes are of one step's frame before compression")
    print(f"{'nodes':>6} {'median':>8} {'p95':>8} {'limit':>7} {'kB a step':>10} {'limit':>7}")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=QUIET)
        for size in args.sizes:
            trace = bench_trace(size)
            times = time_moves(browser, trace, args.moves, args.pause)
            heavy = max(len(dump_block(step_frame(trace, i)).encode()) for i in range(len(trace.steps)))
            p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
            times_said = f"{statistics.median(times):>8.0f} {p95:>8.0f} {LIMITS_MS.get(size, '–'):>7}"
            print(f"{size:>6} {times_said} {heavy / 1000:>10.1f} {LIMITS_KB.get(size, '–'):>7}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
