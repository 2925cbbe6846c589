"""Reading a comparison's Parquet files, without torch and only the rows that are asked for.

The page asks for the runs behind a point of a chart, for the steps of a run, and for sums over all runs. Files that
strangers send come through :mod:`specviz.compare.received` first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specviz.compare.parquet_files import files_there, read_files, table_files
from specviz.compare.rows import DIVERGENCES, OPTIMA, TABLES, Row, Rows
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
MOST_PLAN_BYTES = 1_000_000


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


KEYS = ["mode", "prompt_id", "kind", "tree", "temperature", "verifier", "draft_label", "processors_label"]
"""Columns that tell runs apart, those that older files lack among them."""
_TALLIED = {
    "steps": [*KEYS, "nodes", "accepted", "new_tokens", "end_has_children", *DIVERGENCES, *OPTIMA],
    "decisions": [*KEYS, "rank", "outcome"],
    "outputs": [
        *KEYS,
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
        *([] if group.processors is None else [("processors_label", "=", group.processors)]),
    ]


def _table(folder: Path, name: str, columns: Sequence[str] | None, filters: list[Any] | None) -> Any:
    import pyarrow

    files = table_files(folder, name)
    if not files:
        raise SettingsError(f"The rows of {name} are not there; open their files, too.")
    try:
        return read_files(name, files, columns, filters)
    except (OSError, pyarrow.ArrowException) as error:
        raise SettingsError(f"The rows of {name} cannot be read ({short_error(error)}).") from None


def short_error(error: Exception) -> str:
    """What an error of a library says, in one short line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
