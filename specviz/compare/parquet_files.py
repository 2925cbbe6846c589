"""How a table is divided into Parquet files: one file, or ``name-00001-of-00003.parquet`` and so on."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from specviz.compare.rows import TABLES
from specviz.errors import SettingsError

_NAME = re.compile(r"(?P<stem>.*?)(?:-(?P<number>\d{5})-of-(?P<count>\d{5}))?\.parquet", re.DOTALL | re.IGNORECASE)


def file_names(table: str, count: int) -> list[str]:
    """Names of a table's files, in the order of the rows, as Hugging Face names the parts of large files."""
    if count == 1:
        return [f"{table}.parquet"]
    return [f"{table}-{number:05}-of-{count:05}.parquet" for number in range(1, count + 1)]


def files_pattern(table: str, count: int) -> str:
    """What matches :func:`file_names`: the one name, or a glob."""
    return f"{table}.parquet" if count == 1 else f"{table}-*.parquet"


def files_there(folder: Path, table: str) -> list[Path]:
    """A table's files, whether or not they are all there, sorted by name."""
    return sorted(
        path
        for path in folder.glob(f"{table}*.parquet")
        if (match := _NAME.fullmatch(path.name)) and match["stem"] == table and path.is_file()
    )


def table_files(folder: Path, table: str) -> list[Path]:
    """A table's files in the order of the rows; none if the folder does not have the table.

    Raises:
        SettingsError: if some of them are missing, or they do not belong together.
    """
    found = files_there(folder, table)
    see_all_are_there(table, [path.name for path in found])
    return found


def see_all_are_there(table: str, names: Collection[str]) -> None:
    """See that different names are those of all files of a table. Names that say no number are complete.

    Raises:
        SettingsError: if a name says that there are more, or the names are of different tables.
    """
    parts = [match for name in names if (match := _NAME.fullmatch(name)) and match["count"]]
    if not parts:
        return
    count, numbers = int(parts[0]["count"]), {int(part["number"]) for part in parts}
    first = min(1, *numbers)  # the package datasets counts from 0
    missing = sorted({*range(first, first + count)} - numbers)
    if len({(part["stem"], part["count"]) for part in parts}) > 1 or not len(parts) == len(names) <= count:
        raise SettingsError(f"The files of {table} do not belong together; choose those of one comparison.")
    if missing:
        raise SettingsError(f"Number {missing[0]} of the {count} files of {table} is missing; all of them are needed.")


def schema_of(table: str) -> Any:
    """Of one of :data:`~specviz.compare.rows.TABLES`, for Arrow; the columns say what they mean."""
    import pyarrow

    def type_of(word: str) -> Any:
        if word.startswith("list<"):
            return pyarrow.list_(type_of(word[5:-1]))
        return getattr(pyarrow, {"double": "float64", "bool": "bool_"}.get(word, word))()

    fields = [
        pyarrow.field(column, type_of(word), metadata={"description": meaning})
        for column, (word, meaning) in TABLES[table].items()
    ]
    return pyarrow.schema(fields)


def read_files(
    table: str, files: Sequence[Path], columns: Sequence[str] | None = None, filters: list[Any] | None = None
) -> Any:
    """The rows of a table's files that pass the filters, in their order, as an Arrow table.

    A column that files of 0.1.0 lack is null.

    Raises:
        OSError, pyarrow.ArrowException: if a file cannot be read.
    """
    import pyarrow.parquet

    # Without partitioning, or a folder called "eta=0.1" would be a column.
    return pyarrow.parquet.read_table(
        [str(path) for path in files],
        columns=columns,
        filters=filters,
        schema=schema_of(table),
        use_threads=False,
        partitioning=None,
    )
