"""The viewer's own files, and one HTML file of a run that opens from disk without a server and without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from specviz.assets import ASSETS
from specviz.errors import SettingsError
from specviz.figures.bundle import script_of, style_of
from specviz.figures.figure_style import verifier_css
from specviz.figures.frames import block_head, block_parts, dump_block, step_frame
from specviz.trace.schema import Trace

VIEWER_FOLDER = ASSETS / "viewer"

_FOLLOW_THE_READER = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => (document.documentElement.dataset.theme = dark.matches ? "dark" : "light");
dark.addEventListener("change", follow);
follow();
"""


def standalone_page(trace: Trace, *, go: int = 0, theme: str | None = None) -> str:
    """The whole run as one HTML file. ``theme`` is ``light`` or ``dark``; by default the reader's own setting."""
    return "".join(page_parts(trace, go=go, theme=theme))


def page_parts(trace: Trace, *, go: int = 0, theme: str | None = None) -> Iterator[str]:
    """What :func:`standalone_page` consists of, in order and a frame at a time: all of them take far more memory than
    the run."""
    # Nothing in our scripts contains a closing script tag; the data has no "<" left at all.
    inline = script_of(VIEWER_FOLDER / "exported.js")
    looks = verifier_css() + style_of(VIEWER_FOLDER / "exported.css")
    attribute = f' data-theme="{html.escape(theme)}"' if theme else ""
    first = [] if theme else [_FOLLOW_THE_READER]
    policy = _policy([*first, inline])
    yield f"""<!doctype html>
<html lang="en"{attribute}>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>specviz: a recorded speculative decode</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0; }}
{looks}</style>
{_tags(first)}</head>
<body class="specviz-page">
<main id="viewer"></main>
<script type="application/json" id="run">"""
    frames = (dump_block(step_frame(trace, position)) for position in range(len(trace.steps)))
    yield from block_parts(block_head(trace, go), frames)
    yield f"""</script>
{_tags([inline])}</body>
</html>
"""


def save_page(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    go: int = 0,
    theme: str | None = None,
) -> None:
    """Write :func:`standalone_page` to a file, a frame at a time.

    Raises:
        SettingsError: if it cannot be written there.
    """
    try:
        write_page(trace, path, go=go, theme=theme)
    except OSError as error:
        where = os.fspath(path)
        raise SettingsError(f"The page cannot be saved to {where!r} ({error.strerror}); choose another.") from None


def write_page(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    go: int = 0,
    theme: str | None = None,
    most_bytes: int | None = None,
) -> None:
    """As :func:`save_page`, where whoever hears of an error may not know the path.

    Raises:
        OSError: if it cannot be written there.
        SettingsError: if it is larger than ``most_bytes``; then nothing of it is left.
    """
    try:
        with open(path, "wb") as file:
            for part in page_parts(trace, go=go, theme=theme):
                file.write(part.encode())
                if most_bytes is not None and file.tell() > most_bytes:
                    raise SettingsError(
                        f"The HTML page of this run is larger than {most_bytes >> 20} MB; save the run as a trace file "
                        "instead, of which python -m specviz export makes the page."
                    )
    except SettingsError:
        Path(path).unlink()
        raise


def _tags(scripts: Iterable[str]) -> str:
    return "".join(f"<script>{script}</script>\n" for script in scripts)


def _policy(scripts: Iterable[str]) -> str:
    """The content security policy: the file runs these scripts only, and makes no request."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
