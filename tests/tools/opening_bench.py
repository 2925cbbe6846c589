"""How long a served page takes to its first tree, and what it sends: ``python -m tests.tools.opening_bench URL``.

Give it the addresses of one or more servers: they are opened in turn, each time in a browser that has stored nothing.
The clock starts with the request of the page and stops after the frame in which the tree was painted; bytes are what
came over the wire, compressed as it was sent, headers included, until two seconds later. It asserts nothing; the
numbers belong to the machine that they were taken on, so close other work first.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.browser import DRAWN, QUIET, find_chromium

FIRST_TREE = """(() => {
    const look = () => document.querySelector('.sv-root[data-drawn]')
        ? requestAnimationFrame(() => setTimeout(() => { window.firstTree = performance.now(); }))
        : requestAnimationFrame(look);
    look();
})()"""
QUIET_MS = 2000
"""How long after the first tree what still comes belongs to the opening."""


@dataclass
class Opening:
    """One opening of a page.

    Attributes:
        seconds: until the first tree was painted.
        sent: bytes on the wire by address.
    """

    seconds: float = 0.0
    sent: dict[str, int] = field(default_factory=dict)


def open_once(browser: Browser, url: str) -> Opening:
    """Open a page as somebody does who never saw it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(FIRST_TREE)
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    opening, address = Opening(), {}

    def answered(event: dict[str, Any]) -> None:
        address[event["requestId"]] = event["response"]["url"]

    def came(event: dict[str, Any]) -> None:
        name = address.get(event["requestId"], "")
        opening.sent[name] = opening.sent.get(name, 0) + int(event["encodedDataLength"])

    wire.on("Network.responseReceived", answered)
    wire.on("Network.loadingFinished", came)
    page.goto(url, wait_until="commit")
    page.wait_for_selector(DRAWN)
    page.wait_for_function("window.firstTree")
    opening.seconds = page.evaluate("window.firstTree") / 1000
    page.wait_for_timeout(QUIET_MS)
    context.close()
    return opening


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--largest", type=int, default=0, metavar="N", help="also list the N largest answers")
    args = parser.parse_args()
    path = find_chromium()
    if path is None:
        raise SystemExit("Chromium is not installed.")
    found: dict[str, list[Opening]] = {url: [] for url in args.urls}
    with sync_playwright() as p:
        for _ in range(args.rounds):
            for url in args.urls:
                browser = p.chromium.launch(executable_path=path, args=QUIET)
                found[url].append(open_once(browser, url))
                browser.close()
    print(f"{'page':<32} {'seconds':>8} {'from':>6} {'to':>6} {'kB':>8} {'answers':>8}")
    for url, openings in found.items():
        times = [one.seconds for one in openings]
        sizes = [sum(one.sent.values()) / 1000 for one in openings]
        answers = statistics.median(len(one.sent) for one in openings)
        said = f"{statistics.median(times):>8.2f} {min(times):>6.2f} {max(times):>6.2f}"
        print(f"{url:<32} {said} {statistics.median(sizes):>8.0f} {answers:>8.0f}")
        largest = sorted(openings[-1].sent.items(), key=lambda item: -item[1])
        for name, size in largest[: args.largest]:
            print(f"    {size / 1000:>8.1f}  {name}")


if __name__ == "__main__":
    main()
