"""Files of a comparison that a stranger sent: copied under file names of our own, and looked through.

They are untrusted. Every column is checked, a few thousand rows at a time, before anything else reads them; settings
among them are data, which imports nothing.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from specviz.compare.parquet_files import file_names, see_all_are_there, table_files
from specviz.compare.read import KEYS, MOST_PLAN_BYTES, PLAN, short_error
from specviz.compare.rows import DIVERGENCES, DRAFT, OPTIMA, PROCESSORS, TABLES, columns_of
from specviz.errors import SettingsError

MOST_FILES = 40
NO_STEPS = "There are no steps among these files; choose a comparison's files, or them in a zip."
MOST_ROWS = {"steps": 1_000_000, "decisions": 8_000_000, "outputs": 100_000}
MOST_BYTES = 256 * 1024 * 1024
"""Of all files, unpacked from a zip; and of a Parquet file's columns, unpacked again."""
MOST_DIFFERENT = {
    "prompt_id": 2_000,
    "verifier": 60,
    "tree": 24,
    "temperature": 12,
    "kind": 40,
    "mode": 2,
    "draft_label": 13,
    "processors_label": 12,
}
MOST_FIGURES = 2_500
"""Combinations of mode, draft, processors, tree, temperature, verifier and kind that intervals are computed for."""
LARGEST_COUNT = 4_096
"""In the columns that count nodes or tokens of one step; a tree is smaller."""
LONGEST_LABEL, LONGEST_TEXT = 300, 200_000
_BATCH = 4_096


def take_files(paths: Iterable[Path], into: Path) -> None:
    """Copy the files of a comparison, loose or in a zip, into an empty folder under the names that compare gives them.

    Parquet files are known by their columns; those of one table are in the order of their names. Other files than those
    of a comparison are left out.

    Raises:
        SettingsError: if there are no steps among them, some of a table's files are missing, or anything is too large,
            damaged or no file of a comparison.
    """
    tables: dict[str, dict[str, Path]] = {}
    sizes: dict[str, Counter[str]] = {}
    for name, copy in _copies(paths, into):
        if copy.suffix == ".json":
            if not _is_plan(copy):
                copy.unlink()
            elif (into / PLAN).exists():
                raise SettingsError(f"There are two files {PLAN}; choose those of one comparison.")
            else:
                copy.rename(into / PLAN)
            continue
        table, size = _table_of(copy)
        sizes[table] = sizes.get(table, Counter()) + size
        if any(sizes[table][what] > most for what, most in _most(table).items()):
            raise SettingsError(_too_large())
        if name in tables.setdefault(table, {}):
            raise SettingsError(f"Two files of {table} have the same name; choose those of one comparison.")
        tables[table][name] = copy
    for table, copies in tables.items():
        see_all_are_there(table, copies)
        for name, final in zip(sorted(copies), file_names(table, len(copies)), strict=True):
            copies[name].rename(into / final)
    if "steps" not in tables:
        raise SettingsError(NO_STEPS)


def _copies(paths: Iterable[Path], into: Path) -> list[tuple[str, Path]]:
    """Copies of files and of the members of zips under names of ours, each with its own name, without folders."""
    copies: list[tuple[str, Path]] = []
    for number, path in enumerate(paths):
        room = MOST_BYTES - sum(copy.stat().st_size for _, copy in copies)
        if path.suffix.lower() == ".zip":
            copies += _unzip(path, into, number, room)
        elif (kind := path.suffix.lower()) in (".parquet", ".json"):
            if path.stat().st_size > room:
                raise SettingsError(_too_large())
            copies.append((path.name, into / f"new-{number}{kind}"))
            shutil.copyfile(path, copies[-1][1])
        if len(copies) > MOST_FILES or number == MOST_FILES:
            raise SettingsError(f"These are more than {MOST_FILES} files; choose those of one comparison.")
    return copies


def look_through(folder: Path) -> None:
    """Check that uploaded rows are what ``compare`` writes: types, ranges, and not too many different values.

    Raises:
        SettingsError: naming the first thing that is not.
    """
    import pyarrow

    different: dict[str, set[Any]] = {name: set() for name in MOST_DIFFERENT}
    figures: set[tuple[Any, ...]] = set()
    for name in TABLES:
        try:
            for columns in (columns for path in table_files(folder, name) for columns in _batches(path, name)):
                for column, values in columns.items():
                    _look_at(name, column, values)
                    if column in different:
                        different[column].update(values)
                        if len(different[column]) > (most := MOST_DIFFERENT[column]):
                            raise SettingsError(
                                f"The table {name} has more than {most:,} different values of {column}, "
                                "more than the page compares; use python -m specviz compare, which has no limit."
                            )
                if name == "steps":
                    named = ("mode", "tree", "temperature", "verifier", "kind", "draft_label", "processors_label")
                    unlabelled = [None] * len(columns["mode"])
                    figures.update(zip(*(columns.get(column, unlabelled) for column in named), strict=True))
        except (OSError, pyarrow.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise SettingsError(f"The table {name} is damaged ({short_error(error)}).") from None
    if not figures:
        raise SettingsError("The table steps has no rows.")
    if len(figures) > MOST_FIGURES:
        raise SettingsError(
            f"This comparison has more than {MOST_FIGURES:,} combinations of draft, processors, tree, temperature, "
            "verifier and kind; look at its report.html instead."
        )


def _unzip(path: Path, into: Path, number: int, room: int) -> list[tuple[str, Path]]:
    """Unpack at most ``room`` bytes; returns members' own names, without their folders, and where they are now."""
    used = 0
    copies: list[tuple[str, Path]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = [it for it in archive.infolist() if not it.is_dir() and "__MACOSX" not in it.filename]
            members = [it for it in members if Path(it.filename).suffix.lower() in (".parquet", ".json")]
            if len(members) > MOST_FILES:
                raise SettingsError(f"The zip has more than {MOST_FILES} files; it is no comparison.")
            for index, member in enumerate(members):
                name = Path(member.filename).name
                copies.append((name, into / f"new-{number}-{index}{Path(name).suffix.lower()}"))
                with archive.open(member) as packed, open(copies[-1][1], "wb") as out:
                    while piece := packed.read(1 << 20):
                        used += len(piece)
                        if used > room:
                            raise SettingsError(_too_large())
                        out.write(piece)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise SettingsError(f"The zip cannot be unpacked ({short_error(error)}); pack or copy it again.") from None
    return copies


def _too_large() -> str:
    return f"These files are more than the {MOST_BYTES >> 20} MB that the page opens; see their report.html."


def _is_plan(path: Path) -> bool:
    """Whether it is the file that holds the settings, and no other JSON."""
    if path.stat().st_size > MOST_PLAN_BYTES:
        return False
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, Mapping) and {"comparison", "pair"} <= set(found)


def _table_of(path: Path) -> tuple[str, Counter[str]]:
    """Which of the tables a Parquet file is of, and how much is in it, by the names of :func:`_most`."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        schema, metadata = file.schema_arrow, file.metadata
    except (OSError, pyarrow.ArrowException, ValueError) as error:
        raise SettingsError(f"A Parquet file is damaged ({short_error(error)}); copy it again.") from None
    found = next((name for name in TABLES if columns_of(name, schema.names) is not None), None)
    if found is None:
        raise SettingsError(
            "A Parquet file does not have the columns that this version of compare writes; make the comparison again."
        )
    types = {column: str(schema.field(column).type) for column in schema.names}
    wrong = next((column for column in schema.names if types[column] != _arrow(TABLES[found][column][0])), None)
    if wrong:
        raise SettingsError(f"The column {wrong} of {found} is no {TABLES[found][wrong][0]}; use compare's own.")
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    # What a file says can be negative, and must not make room for others.
    unpacked = sum(max(0, chunk.total_uncompressed_size) for chunk in chunks)
    values = max((chunk.num_values for chunk in chunks), default=0)
    return found, Counter(rows=max(0, metadata.num_rows), bytes=unpacked, values=max(0, values))


def _most(table: str) -> dict[str, int]:
    """Limits of all files of a table together: rows, bytes unpacked, and the largest columns' values."""
    return {"rows": MOST_ROWS[table], "bytes": MOST_BYTES, "values": 64 * MOST_ROWS[table]}


def _arrow(word: str) -> str:
    return {"list<int32>": "list<element: int32>"}.get(word, word)


def _batches(path: Path, name: str) -> Iterator[dict[str, list[Any]]]:
    """Columns of a few thousand rows at a time. Equal texts are kept once, however often they stand there."""
    import pyarrow.compute
    import pyarrow.parquet

    there = pyarrow.parquet.read_schema(path).names
    texts = [column for column, (word, _) in TABLES[name].items() if word == "string" and column in there]
    file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)
    for batch in file.iter_batches(_BATCH, use_threads=False):
        columns = {}
        for column in batch.schema.names:
            values = batch.column(column)
            if column in texts:
                longest = pyarrow.compute.max(pyarrow.compute.binary_length(values.dictionary)).as_py()
                limit = LONGEST_LABEL if column in KEYS or column == "outcome" else LONGEST_TEXT
                if (longest or 0) > limit:
                    raise SettingsError(f"The table {name} has a text of {longest:,} bytes in the column {column}.")
                known = values.dictionary.to_pylist()
                columns[column] = [None if at is None else known[at] for at in values.indices.to_pylist()]
            elif TABLES[name][column][0].startswith("list"):
                columns[column] = pyarrow.compute.list_value_length(values).to_pylist()
            else:
                columns[column] = values.to_pylist()
        yield columns


_MAY_BE_NULL = {
    *DIVERGENCES,
    *OPTIMA,
    *DRAFT,
    *PROCESSORS,
    *("bonus_uniform", "committed", "uniform", "expected", "residual_mass", "draft_prob", "draft_entropy"),
    *("reference", "message", "nll", "nll_sampled", "distinct_1", "distinct_2", "rouge_l", "chrf", "q", "p"),
    *("threshold", "target_entropy", "target_prob", "text", "token"),
}
_SMALL = {"nodes", "accepted", "emitted", "new_tokens", "path", "path_tokens", "rank", "depth", "node", "committed"}


def _look_at(name: str, column: str, values: list[Any]) -> None:
    known = [value for value in values if value is not None]
    if len(known) < len(values) and column not in _MAY_BE_NULL:
        raise SettingsError(f"The table {name} has no value in a row of the column {column}.")
    if column == "mode" and not set(known) <= {"paired", "free"}:
        raise SettingsError(f"The table {name} has a mode that is neither paired nor free.")
    word = TABLES[name][column][0]
    limit = {"temperature": 100.0}.get(column, float(LARGEST_COUNT) if column in _SMALL else 1e12)
    low = 0.0 if column in _SMALL or column in ("temperature", "step") else -1e12
    if column == "seed":
        limit = 2.0**63
    # Also false for NaN.
    if word not in ("string", "bool") and not all(low <= value <= limit for value in known):
        raise SettingsError(f"The table {name} has a number out of range in the column {column}.")
