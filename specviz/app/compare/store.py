"""The comparisons a page can open: those that ship, those the server was started with, and a few that visitors brought.

A visitor's comparison is known by a name that cannot be guessed, lies in a temporary folder, and goes when newer ones
need its place: those of pages that nobody has open first, then those of the client that has most.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from specviz.app.compare.view import Opened
from specviz.app.server.clients import Client
from specviz.app.server.limits import Limits
from specviz.app.server.progress import Progress, result_of
from specviz.app.server.readers import Readers
from specviz.app.server.streams import STREAMS
from specviz.app.server.tempdir import hidden_folder
from specviz.assets import ASSETS
from specviz.compare.parquet_files import table_files
from specviz.compare.read import PLAN, find_comparisons, tallies_of
from specviz.compare.rows import TABLES
from specviz.compare.statistics import AXES, Tally
from specviz.compare.summary import SUMMARY, dump, load, summarize
from specviz.errors import SettingsError
from specviz.figures.text import one_line

SHIPPED = ASSETS / "comparison"
MOST_KEPT, MOST_SMALL = 6, 64
"""Comparisons of visitors; on a public page, where all of them are small, more."""
PACKED_NAME = "specviz-comparison.zip"
PACKED = (PLAN, "prompts.jsonl", "README.md")
"""What a zip has beside the tables and the summary."""


class ComparisonStore:
    """The registry.

    Args:
        shipped: where finished comparisons come with specviz; it may be missing.
        more: folders of comparisons that the server was started with.
    """

    def __init__(self, shipped: Path = SHIPPED, more: Sequence[Path] = ()):
        self._listed = {f"{number}": folder for number, folder in enumerate([*find_comparisons(shipped), *more])}
        self._shipped = shipped
        self._opened: OrderedDict[str, tuple[Opened, tempfile.TemporaryDirectory[str] | None]] = OrderedDict()
        self._pages: dict[str, str] = {}
        """Of each that visitors have brought or made: the page that did."""
        self._lock = threading.Lock()

    def names(self) -> list[tuple[str, str]]:
        """(name, key) of those that can be opened at once."""
        return [(self._name(folder), key) for key, folder in self._listed.items()]

    def get(self, key: str) -> Opened:
        """One that has been opened.

        Raises:
            SettingsError: if it was removed to make room for newer ones.
        """
        with self._lock:
            if key in self._opened:
                self._opened.move_to_end(key)
                return self._opened[key][0]
        raise SettingsError("This comparison is not open any more; open it again.")

    def open_listed(self, key: str) -> Opened:
        """One of :meth:`names`.

        Raises:
            SettingsError: for any other name, and for files that cannot be read.
        """
        with self._lock:
            if key in self._opened:
                return self._opened[key][0]
        if key not in self._listed:
            raise SettingsError("There is no such comparison; choose one that is listed.")
        folder = self._listed[key]
        try:
            summary: Mapping[str, Any] = load(folder)
        except SettingsError:
            summary = result_of(self._summarized(folder))
        opened = Opened(self._name(folder), about(folder, summary), summary, folder)
        with self._lock:
            self._opened[key] = (opened, None)
        return opened

    def add_files(
        self, paths: Sequence[str], readers: Readers, client: Client, limits: Limits | None = None
    ) -> Generator[Progress, None, str]:
        """Open files that a visitor sent; tells how far it is and returns the key.

        Raises:
            SettingsError: saying what is wrong with them.
            TraceError, BusyError: see :meth:`~specviz.app.server.readers.Readers.read_comparison`.
        """
        yield Progress("Looking through the files …")
        home = hidden_folder("comparison-")
        folder = Path(home.name)
        try:
            found: list[Tally] = []
            for done, some in readers.read_comparison([Path(path) for path in paths], folder, client):
                found += some
                yield Progress("Reading the rows …", done)
            yield Progress("Computing the intervals …")
            summary = summarized(found, folder)
        except BaseException:
            home.cleanup()
            raise
        first = Path(paths[0]).stem if len(paths) == 1 else "your files"
        title = one_line(first, 40)
        return self.add(Opened(title, about(folder, summary), summary, folder), home, client.session or "", limits)

    def add(
        self, opened: Opened, home: tempfile.TemporaryDirectory[str], page: str = "", limits: Limits | None = None
    ) -> str:
        """Keep a visitor's comparison; another makes room, see
        :meth:`~specviz.app.server.streams.Streams.first_to_go`.

        Args:
            page: whose it is.
        """
        key, limits = secrets.token_urlsafe(12), limits or Limits()
        most = MOST_SMALL if limits.public else MOST_KEPT
        with self._lock:
            self._opened[key] = (opened, home)
            self._pages[key] = page
            brought = [name for name, (_, place) in self._opened.items() if place is not None]
            while len(brought) > most:
                held = [(self._pages[name], 1) for name in brought]
                name = brought.pop(STREAMS.first_to_go(held, limits.addresses_count))
                place = self._opened.pop(name)[1]
                del self._pages[name]
                if place is not None:
                    place.cleanup()
        return key

    def remove(self, key: str) -> None:
        """Let a visitor's comparison go, with its files."""
        with self._lock:
            _, place = self._opened.pop(key, (None, None))
            self._pages.pop(key, None)
        if place is not None:
            place.cleanup()

    def _name(self, folder: Path) -> str:
        return "the comparison that comes with specviz" if folder == self._shipped else one_line(folder.name, 80)

    def _summarized(self, folder: Path) -> Generator[Progress, None, Mapping[str, Any]]:
        found: list[Tally] = []
        for done, some in tallies_of(folder):
            found += some
            yield Progress("Reading the rows …", done)
        yield Progress("Computing the intervals …")
        return summarized(found, folder)


def summarized(found: Sequence[Tally], folder: Path | None = None, labels: Any = None) -> Mapping[str, Any]:
    """The summary as it would be read back from its file, where NaN is null."""
    if labels is None and folder is not None and (folder / PLAN).is_file():
        from specviz.compare.labels import labels_of  # imports torch: not needed for what ships
        from specviz.compare.replay import read_settings

        try:
            labels = labels_of(read_settings(folder)[0])
        except SettingsError:
            labels = None  # of another version, or with verifiers that are not here: the rows have their labels
    result: Mapping[str, Any] = json.loads(dump(summarize(found, labels)))
    return result


def about(folder: Path | None, summary: Mapping[str, Any]) -> str:
    """What a comparison compares, in a sentence."""
    estimates = summary["estimates"]

    def count(name: str, word: str, *others: Any) -> str:
        number = len({row.get(name) for row in estimates} - {None, *others})
        return f"{number} {word}{'' if number == 1 else 's'}"

    prompts = {mode: max((r["prompts"] for r in estimates if r["mode"] == mode), default=0) for mode in _MODES}
    said = [f"{number} prompts {_MODES[mode]}" for mode, number in prompts.items() if number]
    words = {"draft": "draft", "processors": "processor set"}
    labelled = [count(axis, words[axis]) for axis in AXES if any(row.get(axis) is not None for row in estimates)]
    parts = (
        count("kind", "kind"),
        *labelled,
        count("tree", "tree", "no draft"),
        count("verifier", "verifier", "sampling"),
    )
    text = f"{' and '.join(said)}; {', '.join(parts)}, {count('temperature', 'temperature')}."
    plan = _plan(folder) if folder else {}
    comparison, pair = plan.get("comparison"), plan.get("pair")
    if isinstance(comparison, Mapping) and isinstance(pair, Mapping):
        models = f"{pair.get('target')} ← {_drafts(comparison) or pair.get('draft')}"
        text += (
            f" At most {comparison.get('max_new_tokens')} tokens each; models {models}; seed {comparison.get('seed')}."
        )
    return one_line(text, 400)


def _drafts(comparison: Mapping[str, Any]) -> str:
    """The names of drafts that have labels."""
    drafts = comparison.get("drafts")
    named = [one for one in drafts if isinstance(one, Mapping)] if isinstance(drafts, list) else []
    return ", ".join(f"{one.get('label')} ({one.get('draft')})" for one in named)


_MODES = {"paired": "on the same trees", "free": "with each verifier on its own text"}


def packed(opened: Opened, path: Path) -> None:
    """Write the comparison's files as one zip.

    Raises:
        SettingsError: while it is being made, and if a file is missing.
    """
    if opened.folder is None:
        raise SettingsError("This comparison is not finished yet.")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        others = [opened.folder / name for name in PACKED]
        tables = [file for table in TABLES for file in table_files(opened.folder, table)]
        for file in (*others, *tables):
            if file.is_file():
                archive.write(file, f"comparison/{file.name}")
        archive.writestr(f"comparison/{SUMMARY}", dump(dict(opened.summary)))


def _plan(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / PLAN).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}
