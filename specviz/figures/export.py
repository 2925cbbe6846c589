"""The viewer's own files, and one HTML file of a run that opens from disk without a server and without a network."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from specviz.assets import ASSETS
from specviz.display import upright
from specviz.errors import SettingsError, shown
from specviz.figures.block_types import Refused
from specviz.figures.bundle import script_of, style_of
from specviz.figures.engine import about_pair
from specviz.figures.figure_style import verifier_css
from specviz.figures.frames import PROMPT_CHARACTERS, block_head, block_parts, dump_block, step_frame
from specviz.figures.text import prompt_text
from specviz.trace.schema import Trace

VIEWER_FOLDER = ASSETS / "viewer"
TITLE_CHARACTERS = 80
"""Of a prompt in the title of an HTML file."""

_FOLLOW_THE_READER = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => (document.documentElement.dataset.theme = dark.matches ? "dark" : "light");
dark.addEventListener("change", follow);
follow();
"""


def standalone_page(trace: Trace, *, go: int = 0, theme: str | None = None, alone: bool = False) -> str:
    """A run as one HTML file.

    Args:
        go: position of the step that is shown first, unless ``?step=`` behind the file's address names another (from 1
            on); ``&node=`` and ``&verifier=`` say what is selected there.
        theme: ``light`` or ``dark``; by default the reader's own setting.
        alone: whether the file has that step only.
    """
    return "".join(page_parts(trace, go=go, theme=theme, alone=alone))


def page_parts(trace: Trace, *, go: int = 0, theme: str | None = None, alone: bool = False) -> Iterator[str]:
    """What :func:`standalone_page` consists of, in order and a frame at a time: all of them take far more memory than
    the run."""
    # Nothing in our scripts contains a closing script tag; the data has no "<" left at all.
    inline = script_of(VIEWER_FOLDER / "exported.js")
    looks = verifier_css() + style_of(VIEWER_FOLDER / "exported.css")
    attribute = f' data-theme="{html.escape(theme)}"' if theme else ""
    first = [] if theme else [_FOLLOW_THE_READER]
    policy = _policy([*first, inline])
    asked = html.escape(_one_line(prompt_text(trace), PROMPT_CHARACTERS))
    yield f"""<!doctype html>
<html lang="en"{attribute}>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(_title(trace, go, alone))}</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0; }}
{looks}</style>
{_tags(first)}</head>
<body class="specviz-page">
<header class="specviz-file"><h1 dir="auto" title="{asked}">{asked}</h1><p>{_about(trace, go, alone)}</p></header>
<main id="viewer"></main>
<script type="application/json" id="run">"""
    wanted = [go] if alone and trace.steps else range(len(trace.steps))
    frames = (dump_block(step_frame(trace, position)) for position in wanted)
    yield from block_parts({**block_head(trace, go), "refused": _left_out(trace, wanted)}, frames)
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
    alone: bool = False,
) -> None:
    """Write :func:`standalone_page` to a file, a frame at a time.

    Raises:
        SettingsError: for a step or theme that there is not, and if it cannot be written there.
    """
    if theme not in (None, "light", "dark"):
        raise SettingsError(f"There is no theme {shown(theme)}; choose light or dark, or leave it out.")
    if not 0 <= go < max(1, len(trace.steps)):
        raise SettingsError(f"There is no step {shown(go + 1)}; choose one from 1 to {max(1, len(trace.steps))}.")
    try:
        write_page(trace, path, go=go, theme=theme, alone=alone)
    except OSError as error:
        where = os.fspath(path)
        raise SettingsError(f"The page cannot be saved to {where!r} ({error.strerror}); choose another.") from None


def write_page(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    go: int = 0,
    theme: str | None = None,
    alone: bool = False,
    most_bytes: int | None = None,
) -> None:
    """As :func:`save_page`, where whoever hears of an error may not know the path.

    Raises:
        OSError: if it cannot be written there.
        SettingsError: if it is larger than ``most_bytes``; then nothing of it is left.
    """
    try:
        with open(path, "wb") as file:
            for part in page_parts(trace, go=go, theme=theme, alone=alone):
                file.write(part.encode())
                if most_bytes is not None and file.tell() > most_bytes:
                    raise SettingsError(
                        f"The HTML page of this run is larger than {most_bytes >> 20} MB; save the run as a trace file "
                        "instead, of which python -m specviz export makes the page."
                    )
    except SettingsError:
        Path(path).unlink()
        raise


def _one_line(text: str, most: int) -> str:
    """Text of a stranger in one line that nothing in it turns around."""
    line = upright(" ".join(text.split())).encode("utf-8", "replace").decode()
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _title(trace: Trace, go: int, alone: bool) -> str:
    step = f"step {go + 1} of " if alone else ""
    return f"{step}“{_one_line(prompt_text(trace), TITLE_CHARACTERS)}” · specviz"


def _about(trace: Trace, go: int, alone: bool) -> str:
    count = len(trace.steps)
    said = f"step {go + 1} of {count}, alone" if alone else f"{count} step{'' if count == 1 else 's'}"
    return html.escape(_one_line(" · ".join(filter(None, (about_pair(trace), said))), PROMPT_CHARACTERS))


def _left_out(trace: Trace, wanted: Iterable[int]) -> list[Refused]:
    """What a viewer says in the place of the steps that are not in the file."""
    there = {*wanted}
    said = f"This file has step {min(there, default=0) + 1} alone; the trace file of the run has all."
    return [{"step": step, "text": said} for step in range(len(trace.steps)) if step not in there]


def _tags(scripts: Iterable[str]) -> str:
    return "".join(f"<script>{script}</script>\n" for script in scripts)


def _policy(scripts: Iterable[str]) -> str:
    """The content security policy: the file runs these scripts only, and makes no request."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
