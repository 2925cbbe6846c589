"""Merge finished units into Parquet files and a data card, in an order that does not depend on who did them; read them
back as rows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from specviz.compare.dataset_card import data_card
from specviz.compare.jobs import CARD, WORK, Job, is_finished, read_unit, write_atomically
from specviz.compare.parquet_files import file_names, files_pattern, files_there, read_files, schema_of, table_files
from specviz.compare.read import DRAFTS_KEY, MODELS_KEY
from specviz.compare.rows import TABLES, Row, Rows
from specviz.compare.run_unit import Result
from specviz.compare.spec import labels_of_drafts
from specviz.errors import SettingsError
from specviz.trace.identity import other_models
from specviz.trace.schema import Models

LARGEST_FILE = 8_000_000
"""Bytes that no file of a table passes: Hugging Face keeps files of up to 10 MiB as they are."""
_LEVEL = 15
"""Of zstd. Decisions are 5 % smaller than at 3, and as small as at 19, which takes two to five times as long."""
_GROUP_UNITS = 64
"""Units whose rows are written as one row group."""


def merge(folder: Path, job: Job) -> None:
    """Write the Parquet files and the data card of a folder whose units are all done, and remove the units.

    Raises:
        SettingsError: if a unit is damaged, or units were made by different models. Nothing is removed then.
    """
    with FileLock(folder / ".merge.lock"):
        if is_finished(folder):  # by another shard that ended at the same time
            shutil.rmtree(folder / WORK, ignore_errors=True)
            return
        models = _write_tables(folder, job)
        files = {name: table_files(folder, name) for name in TABLES}
        counts = {name: sum(_count(path) for path in paths) for name, paths in files.items()}
        patterns = {name: files_pattern(name, len(paths)) for name, paths in files.items()}
        card = data_card(job, list(models.values()), counts, patterns)
        write_atomically(folder / CARD, card.encode())
        shutil.rmtree(folder / WORK, ignore_errors=True)


def _write_tables(folder: Path, job: Job) -> dict[str | None, Models]:
    """Write all rows; returns the models by the draft's label, in the order of the drafts."""
    for left in folder.glob(".*.parquet.part"):  # by a merge that was killed
        left.unlink()
    units = job.units()
    models: dict[str | None, Models] = {}
    for draft in labels_of_drafts(job.comparison):
        first = next(unit for unit in units if unit.draft == draft)
        models[draft] = read_unit(folder, first.index).models
    writers = {name: _Writer(folder, name, models) for name in TABLES}
    try:
        group: list[Result] = []
        for unit in units:
            result = read_unit(folder, unit.index)
            if other := _other(result, models):
                raise SettingsError(
                    f"The unit {unit.index} was made by other models than the first ({other}); use equal ones on all "
                    "machines."
                )
            group.append(result)
            if len(group) == _GROUP_UNITS or unit is units[-1]:
                for name, writer in writers.items():
                    writer.write([row for one in group for row in one.rows.table(name)])
                group = []
    finally:
        for writer in writers.values():
            writer.close()
    for name in reversed(TABLES):  # a folder is known by its steps: they come last
        writers[name].publish()
    return models


def _other(result: Result, models: Mapping[str | None, Models]) -> str | None:
    """What tells a unit's models from those of the first with its draft, and its target from the first of all."""
    first = next(iter(models.values()))
    own = models.get(result.draft, first)  # the target alone ran beside the first draft
    return other_models(result.models, own) or other_models(
        Models(target=own.target, draft=first.draft), Models(target=first.target, draft=first.draft)
    )


class _Writer:
    """A table's rows on their way into files, each at most :data:`LARGEST_FILE` large, with hidden names at first."""

    def __init__(self, folder: Path, table: str, models: Mapping[str | None, Models] | None = None):
        self._folder, self._table, self._schema = folder, table, schema_of(table)
        # What a file holds besides its row groups: the models that made the rows, once.
        self._about = _about(models) if models and table == "outputs" else None
        # It stands in the file's own metadata, and in Arrow's schema in base64.
        self._room = LARGEST_FILE - 4 * sum(map(len, (self._about or {}).values()))
        # Numbers hardly repeat, and a dictionary of them is larger than they are.
        repeating = [
            f"{column}.list.element" if word.startswith("list") else column
            for column, (word, _) in TABLES[table].items()
            if word != "double"
        ]
        self._format = {"compression": "zstd", "compression_level": _LEVEL, "use_dictionary": repeating}
        self._parts: list[Path] = []
        self._writer: Any = None
        self._size = 0

    def write(self, rows: list[Row]) -> None:
        """Add rows, as one row group if it is not too large for a file."""
        import pyarrow

        if rows:  # an empty row group at the head of a file is one that the package datasets cannot read
            self._write(pyarrow.Table.from_pylist(rows, schema=self._schema))

    def _write(self, group: Any) -> None:
        size = self._size_of(group)
        if size > self._room and group.num_rows > 1:
            half = group.num_rows // 2
            self._write(group.slice(0, half))
            self._write(group.slice(half))
            return
        if self._size + size > self._room:
            self.close()
        if self._writer is None:
            self._open()
        self._writer.write_table(group)
        self._size += size

    def _size_of(self, group: Any) -> int:
        """Bytes of a file of this row group alone: a file of several is at most as large as theirs together."""
        import pyarrow
        import pyarrow.parquet

        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(group, sink, **self._format)
        return int(sink.tell())

    def _open(self) -> None:
        import pyarrow.parquet

        self._parts.append(self._folder / f".{self._table}-{len(self._parts) + 1}.parquet.part")
        schema = self._schema.with_metadata(self._about)
        self._writer = pyarrow.parquet.ParquetWriter(self._parts[-1], schema, **self._format)
        self._size = 0

    def close(self) -> None:
        """End the file that is being written, if there is one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def publish(self) -> None:
        """End the last file, and give all their names. A table without rows is a file, too."""
        if not self._parts:
            self._open()
        self.close()
        for left in files_there(self._folder, self._table):  # by a merge that was killed
            left.unlink()
        for part, name in zip(self._parts, file_names(self._table, len(self._parts)), strict=True):
            os.replace(part, self._folder / name)


def _about(models: Mapping[str | None, Models]) -> dict[str, str]:
    """The metadata: one pair, that of the first draft, and beside it every draft that has a label."""
    first = _essence(next(iter(models.values())))
    found = {MODELS_KEY: first.model_dump_json(exclude_none=True)}
    drafts = {label: _essence(one).draft for label, one in models.items() if label is not None}
    if drafts:
        plain = {label: draft.model_dump(mode="json", exclude_none=True) for label, draft in drafts.items() if draft}
        found[DRAFTS_KEY] = json.dumps(plain, ensure_ascii=False)
    return found


def _essence(models: Models) -> Models:
    """Without the device, which may differ."""
    target, draft = (model.model_copy(update={"device": ""}) for model in models.both())
    return Models(target=target, draft=draft)


def _count(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def read_rows(folder: Path) -> Iterator[Rows]:
    """The rows of a finished comparison, prompt by prompt.

    Raises:
        SettingsError: if there is none, or it is not whole.
    """
    import pyarrow

    if not is_finished(folder):
        raise SettingsError(f"There is no finished comparison in {str(folder)!r}; make one with compare.")
    try:
        files = {name: table_files(folder, name) for name in TABLES}
        if not all(files.values()):
            raise SettingsError(f"The comparison in {str(folder)!r} lacks a table; copy all of its files.")
        ids = read_files("outputs", files["outputs"], ["prompt_id"])["prompt_id"].unique()
        for prompt_id in ids.to_pylist():
            yield rows_of(files, prompt_id)
    except (OSError, pyarrow.ArrowException) as error:
        said = " ".join(str(error).split())[:150]
        raise SettingsError(f"The comparison in {str(folder)!r} cannot be read ({said}).") from None


def rows_of(files: Mapping[str, Sequence[Path]], prompt_id: str) -> Rows:
    """The rows of one prompt.

    Args:
        files: the files of every table, see :func:`~specviz.compare.parquet_files.table_files`.

    Raises:
        OSError, pyarrow.ArrowException: if a file cannot be read.
    """
    only = [("prompt_id", "=", prompt_id)]
    return Rows(**{name: read_files(name, paths, filters=only).to_pylist() for name, paths in files.items()})
