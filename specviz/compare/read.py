"""Reading a comparison's Parquet files, without torch and only the rows that are asked for.

The page asks for the runs behind a point of a chart, for the steps of a run, and for sums over all runs. It also takes
uploaded files. These are untrusted: they are copied under file names of our own, and every column is checked, a few
thousand rows at a time, before anything else reads them.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specviz.compare.parquet_files import file_names, files_there, read_files, see_all_are_there, table_files
from specviz.compare.rows import DIVERGENCES, DRAFT, OPTIMA, TABLES, Row, Rows, columns_of
from specviz.compare.statistics import Group, Tally, tallies
from specviz.errors import SettingsError
from specviz.trace.schema import ModelInfo, Models

PLAN = "comparison.json"
"""What a comparison compares: the file in its folder."""
MODELS_KEY = "specviz.models"
"""Of a Parquet file's own metadata: which models made the rows, with a hash of their weights."""
DRAFTS_KEY = "specviz.drafts"
"""Beside it, where drafts have labels: label -> draft model."""
MOST_MODELS_BYTES = 100_000
MOST_FILES = 40
NO_STEPS = "There are no steps among these files; choose a comparison's files, or them in a zip."
MOST_ROWS = {"steps": 1_000_000, "decisions": 8_000_000, "outputs": 100_000}
MOST_BYTES = 256 * 1024 * 1024
"""Of all files, unpacked from a zip; and of a Parquet file's columns, unpacked again."""
MOST_PLAN_BYTES = 1_000_000
MOST_DIFFERENT = {
    "prompt_id": 2_000,
    "verifier": 60,
    "tree": 24,
    "temperature": 12,
    "kind": 40,
    "mode": 2,
    "draft_label": 13,
}
MOST_FIGURES = 2_500
"""Combinations of mode, draft, tree, temperature, verifier and kind that intervals are computed for."""
LARGEST_COUNT = 4_096
"""In the columns that count nodes or tokens of one step; a tree is smaller."""
LONGEST_LABEL, LONGEST_TEXT = 300, 200_000
_BATCH = 4_096


@dataclass(frozen=True)
class RunSums:
    """Sums over the steps of one verifier on one prompt."""

    prompt_id: str
    kind: str
    verifier: str
    steps: int
    accepted: int
    new_tokens: int


def find_comparisons(folder: Path) -> list[Path]:
    """Folders of finished comparisons: the folder itself and those right below it; none if it does not exist."""
    if not folder.is_dir():
        return []
    candidates = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())]
    return [one for one in candidates if (one / PLAN).is_file() and files_there(one, "steps")]


# ----------------------------------------------------------------------------------------------------------- parts


def runs_of(folder: Path, group: Group, kind: str | None = None) -> list[RunSums]:
    """The runs behind a point of a chart (``group``, and ``kind`` of prompt), in the order of the rows."""
    columns = ["prompt_id", "kind", "verifier", "accepted", "new_tokens"]
    table = _table(folder, "steps", columns, [*_is(group), *([("kind", "=", kind)] if kind else [])])
    keys = ["prompt_id", "kind", "verifier"]
    sums = table.group_by(keys, use_threads=False).aggregate(
        [("accepted", "sum"), ("new_tokens", "sum"), ("accepted", "count")]
    )
    return [
        RunSums(
            row["prompt_id"],
            row["kind"],
            row["verifier"],
            int(row["accepted_count"]),
            int(row["accepted_sum"]),
            int(row["new_tokens_sum"]),
        )
        for row in sums.to_pylist()
    ]


def steps_of(folder: Path, group: Group, prompt_id: str, verifier: str | None = None) -> list[Row]:
    """The rows of a run's steps; of free runs, ``verifier`` says whose."""
    more = [("prompt_id", "=", prompt_id), *([("verifier", "=", verifier)] if group.mode == "free" else [])]
    rows: list[Row] = _table(folder, "steps", None, [*_is(group), *more]).to_pylist()
    return sorted(rows, key=lambda row: row["step"])


def output_of(folder: Path, group: Group, prompt_id: str, verifier: str | None = None) -> Row | None:
    """The row of a run's output, if the folder has it."""
    if not table_files(folder, "outputs"):
        return None
    more = [("prompt_id", "=", prompt_id), *([("verifier", "=", verifier)] if group.mode == "free" else [])]
    found: list[Row] = _table(folder, "outputs", None, [*_is(group), *more]).to_pylist()
    return found[0] if found else None


def models_of(folder: Path, draft: str | None = None) -> Models | None:
    """The models that made the rows, as the outputs' file says it beside its columns; None where it does not.

    Args:
        draft: label of one of several drafts.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        known = pyarrow.parquet.read_schema(table_files(folder, "outputs")[0]).metadata or {}
        text: bytes = known.get(MODELS_KEY.encode(), b"")
        drafts: bytes = known.get(DRAFTS_KEY.encode(), b"{}")
        if len(text) > MOST_MODELS_BYTES or len(drafts) > MOST_MODELS_BYTES:
            return None
        models = Models.model_validate_json(text)
        if draft is None:
            return models
        own = ModelInfo.model_validate_json(json.dumps(json.loads(drafts)[draft]))
        return models.model_copy(update={"draft": own})
    # pydantic's error is a ValueError
    except (OSError, LookupError, pyarrow.ArrowException, ValueError, TypeError, RecursionError):
        return None


def tallies_of(folder: Path) -> Iterator[tuple[float, list[Tally]]]:
    """Sums of all runs, prompt by prompt, each with how much is done. Tables that are not there count as empty."""
    ids = list(dict.fromkeys(_table(folder, "steps", ["prompt_id"], None)["prompt_id"].to_pylist()))
    there = [name for name in TABLES if table_files(folder, name)]
    for done, prompt_id in enumerate(ids, start=1):
        only = [("prompt_id", "=", prompt_id)]
        rows = Rows(**{name: _table(folder, name, _TALLIED[name], only).to_pylist() for name in there})
        yield done / len(ids), tallies(rows)


_KEYS = ["mode", "prompt_id", "kind", "tree", "temperature", "verifier", "draft_label"]
_TALLIED = {
    "steps": [*_KEYS, "nodes", "accepted", "new_tokens", "end_has_children", *DIVERGENCES, *OPTIMA],
    "decisions": [*_KEYS, "rank", "outcome"],
    "outputs": [
        *_KEYS,
        *("tokens", "nll", "nll_sampled", "distinct_1", "distinct_2", "rouge_l", "chrf"),
    ],
}


def _is(group: Group) -> list[Any]:
    # A summary has six digits of a temperature.
    near = 1e-5 * max(1.0, group.temperature)
    return [
        ("mode", "=", group.mode),
        ("tree", "=", group.tree),
        ("temperature", ">=", group.temperature - near),
        ("temperature", "<=", group.temperature + near),
        *([] if group.draft is None else [("draft_label", "=", group.draft)]),
    ]


def _table(folder: Path, name: str, columns: Sequence[str] | None, filters: list[Any] | None) -> Any:
    import pyarrow

    files = table_files(folder, name)
    if not files:
        raise SettingsError(f"The rows of {name} are not there; open their files, too.")
    try:
        return read_files(name, files, columns, filters)
    except (OSError, pyarrow.ArrowException) as error:
        raise SettingsError(f"The rows of {name} cannot be read ({_short(error)}).") from None


# ------------------------------------------------------------------------------------------------- from strangers


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
                    named = ("mode", "tree", "temperature", "verifier", "kind", "draft_label")
                    unlabelled = [None] * len(columns["mode"])
                    figures.update(zip(*(columns.get(column, unlabelled) for column in named), strict=True))
        except (OSError, pyarrow.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise SettingsError(f"The table {name} is damaged ({_short(error)}).") from None
    if not figures:
        raise SettingsError("The table steps has no rows.")
    if len(figures) > MOST_FIGURES:
        raise SettingsError(
            f"This comparison has more than {MOST_FIGURES:,} combinations of draft, tree, temperature, verifier and "
            "kind; look at its report.html instead."
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
        raise SettingsError(f"The zip cannot be unpacked ({_short(error)}); pack or copy it again.") from None
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
        raise SettingsError(f"A Parquet file is damaged ({_short(error)}); copy it again.") from None
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
                limit = LONGEST_LABEL if column in _KEYS or column == "outcome" else LONGEST_TEXT
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


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
