"""Finished units -> Parquet files and a data card, in one fixed order; and back to rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from specviz.errors import SettingsError
from specviz.experiments.card import data_card
from specviz.experiments.rows import TABLES, Row, Rows
from specviz.experiments.unit_runs import Result
from specviz.experiments.work import CARD, WORK, Job, is_finished, read_unit, write_atomically
from specviz.trace import Models

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
        card = data_card(job, models, {name: _count(folder / f"{name}.parquet") for name in TABLES})
        write_atomically(folder / CARD, card.encode())
        shutil.rmtree(folder / WORK, ignore_errors=True)


def _write_tables(folder: Path, job: Job) -> Models:
    import pyarrow
    import pyarrow.parquet

    schemas = {name: _schema(name) for name in TABLES}
    parts = {name: folder / f".{name}.parquet.part" for name in TABLES}
    writers = {name: pyarrow.parquet.ParquetWriter(parts[name], schemas[name], compression="zstd") for name in TABLES}
    models: Models | None = None
    try:
        group: list[Result] = []
        units = job.units()
        for unit in units:
            result = read_unit(folder, unit.index)
            models = models or result.models
            if _essence(result.models) != _essence(models):
                raise SettingsError(
                    f"The unit {unit.index} was made by other models than the first; use equal ones on all machines."
                )
            group.append(result)
            if len(group) == _GROUP_UNITS or unit is units[-1]:
                for name, writer in writers.items():
                    rows = [row for one in group for row in one.rows.table(name)]
                    writer.write_table(pyarrow.Table.from_pylist(rows, schema=schemas[name]))
                group = []
    finally:
        for writer in writers.values():
            writer.close()
    for name, part in parts.items():
        os.replace(part, folder / f"{name}.parquet")
    assert models is not None, "a comparison has units"
    return models


def _essence(models: Models) -> Models:
    """Without the device, which may differ."""
    return Models(
        target=models.target.model_copy(update={"device": ""}), draft=models.draft.model_copy(update={"device": ""})
    )


def _schema(name: str) -> Any:
    import pyarrow

    def type_of(word: str) -> Any:
        if word.startswith("list<"):
            return pyarrow.list_(type_of(word[5:-1]))
        return getattr(pyarrow, {"double": "float64", "bool": "bool_"}.get(word, word))()

    fields = [
        pyarrow.field(column, type_of(word), metadata={"description": meaning})
        for column, (word, meaning) in TABLES[name].items()
    ]
    return pyarrow.schema(fields)


def _count(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def read_rows(folder: Path) -> Iterator[Rows]:
    """The rows of a finished comparison, prompt by prompt.

    Raises:
        SettingsError: if there is none.
    """
    import pyarrow
    import pyarrow.parquet

    if not is_finished(folder):
        raise SettingsError(f"There is no finished comparison in {str(folder)!r}; make one with compare.")
    try:
        ids = pyarrow.parquet.read_table(folder / "outputs.parquet", columns=["prompt_id"])["prompt_id"].unique()
        for prompt_id in ids.to_pylist():
            yield Rows(**{name: _read(folder / f"{name}.parquet", prompt_id) for name in TABLES})
    except (OSError, pyarrow.ArrowException) as error:
        said = " ".join(str(error).split())[:150]
        raise SettingsError(f"The comparison in {str(folder)!r} cannot be read ({said}).") from None


def _read(path: Path, prompt_id: str) -> list[Row]:
    import pyarrow.parquet

    found: list[Row] = pyarrow.parquet.read_table(path, filters=[("prompt_id", "=", prompt_id)]).to_pylist()
    return found
