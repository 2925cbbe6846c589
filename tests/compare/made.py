"""Comparisons that tests make, and their rows."""

from __future__ import annotations

from pathlib import Path

from specviz.compare import jobs
from specviz.compare.jobs import Job
from specviz.compare.rows import TABLES, Row
from specviz.compare.tables import merge, read_rows


def make(folder: Path, job: Job) -> Path:
    jobs.open_folder(folder, job)
    for index, packed in jobs.run_here(job, jobs.missing(folder, job)):
        jobs.write_unit(folder, index, packed)
    merge(folder, job)
    return folder


def rows_in(folder: Path) -> dict[str, list[Row]]:
    found = list(read_rows(folder))
    return {name: [row for rows in found for row in rows.table(name)] for name in TABLES}
