"""Check that the rows of a comparison are consistent: each decision with its numbers, each output with its steps.

Everything is computed from the rows alone, so the check also holds for files that were moved or edited.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from specviz.compare.rows import Row, Rows

TOLERANCE = 1e-5
"""Relative difference that float32 leaves between a threshold and p / q."""

RunKey = tuple[Any, ...]


def verify_rows(rows: Rows) -> list[str]:
    """What is wrong, a sentence each; nothing for rows that are right.

    Rows are those of whole units. Asked are: every decision follows from its recorded numbers and agrees with its
    path; thresholds of ``u < p/q`` and ``x = y`` rules follow from p and q; verifiers met the same coin at the same
    node; accepted + steps = emitted; outputs are what the driver committed; and all runs of a prompt, whatever draft,
    processors, tree or verifier, had one seed.
    """
    steps = {_step_key(row): row for row in rows.steps}
    problems = [] if len(steps) == len(rows.steps) else ["A step and verifier has more than one row."]
    problems += _decisions(rows.decisions, steps)
    problems += _runs(rows)
    problems += _seeds(rows.outputs)
    return problems


def _decisions(decisions: list[Row], steps: dict[RunKey, Row]) -> Iterator[str]:
    coins: dict[RunKey, float] = {}
    seen: dict[RunKey, int] = {}
    for row in decisions:
        key = _step_key(row)
        where = f"{_where(row)}, step {row['step']}, {row['verifier']}, node {row['node']}"
        step = steps.get(key)
        if step is None:
            yield f"{where}: the decision belongs to no step."
            continue
        if row["decision"] != seen.get(key, 0):
            yield f"{where}: decision {row['decision']} is out of order."
        seen[key] = row["decision"] + 1
        passed = follows(row)
        if passed is None:
            yield f"{where}: the comparison {row['comparison']!r} lacks a number."
        elif passed != (row["outcome"] != "rejected"):
            yield f"{where}: {row['outcome']}, but {row['comparison']} says otherwise."
        if (row["outcome"] == "accepted") != (row["node"] in step["path"]):
            yield f"{where}: {row['outcome']}, but the path is {step['path']}."
        if row["node"] in step["path"] and step["path_tokens"][step["path"].index(row["node"])] != row["token"]:
            yield f"{where}: the path has another token there."
        if (expected := _threshold(row)) is not None and abs(row["threshold"] - expected) > TOLERANCE * expected:
            yield f"{where}: the threshold {row['threshold']:.6g} is not {expected:.6g}."
        if row["comparison"] == "uniform < threshold" and row["uniform"] is not None:
            coin = (*_run_key(row), row["step"], row["node"])
            if coins.setdefault(coin, row["uniform"]) != row["uniform"]:
                yield f"{where}: another verifier met another coin there."
    for key, step in steps.items():
        if seen.get(key, 0) != step["decisions"]:
            yield f"{_where(step)}, step {step['step']}, {step['verifier']}: {step['decisions']} decisions were taken."


def follows(row: Row) -> bool | None:
    """Whether a decision's recorded comparison comes out as passed; None if what it compares is not there."""
    sides = {
        "uniform < threshold": (row["uniform"], row["threshold"]),
        "p > threshold": (row["threshold"], row["p"]),
    }
    if row["comparison"] in sides:
        smaller, larger = sides[row["comparison"]]
        return None if smaller is None or larger is None else bool(smaller < larger)
    return None if row["expected"] is None else bool(row["token"] == row["expected"])


def _threshold(row: Row) -> float | None:
    """What a threshold must be, for rules in which it follows from the p and q of the row; never tiny."""
    p, q = row["p"], row["q"]
    if row["rule"] in ("u < p/q", "u < p/q on every edge") and p is not None and q:
        return float(p / q) if p / q > 1e-30 else None
    if row["rule"] == "x = y, y ~ p" and p is not None:
        return float(p) if p > 1e-30 else None
    return None


def _runs(rows: Rows) -> Iterator[str]:
    outputs = {_run_key(row): row for row in rows.outputs}
    if len(outputs) != len(rows.outputs):
        yield "A run has more than one output."
    runs: dict[RunKey, list[Row]] = {key: [] for key in outputs}
    for row in rows.steps:
        runs.setdefault(_run_key(row), []).append(row)
    for key, own in runs.items():
        where = _where((own or [outputs[key]])[0])
        output = outputs.get(key)
        if output is None:
            yield f"{where}: steps without an output."
            continue
        for verifier in {row["verifier"] for row in own}:
            theirs = [row for row in own if row["verifier"] == verifier]
            if [row["step"] for row in theirs] != list(range(output["steps"])):
                yield f"{where}, {verifier}: not one row for each of {output['steps']} steps."
            if sum(row["accepted"] for row in theirs) + len(theirs) != sum(row["emitted"] for row in theirs):
                yield f"{where}, {verifier}: accepted + steps is not emitted."
        yield from _committed(where, [row for row in own if row["driver"]], output)


def _seeds(outputs: list[Row]) -> Iterator[str]:
    seeds: dict[str, int] = {}
    for row in outputs:
        if seeds.setdefault(row["prompt_id"], row["seed"]) != row["seed"]:
            yield f"{_where(row)}: it has another seed than the prompt's runs before it."


def _committed(where: str, driver: list[Row], output: Row) -> Iterator[str]:
    """The driver's emitted tokens are the output, but for a cut in the last step."""
    emitted = [token for row in driver for token in (*row["path_tokens"], row["bonus_token"])]
    cut = len(emitted) - len(output["tokens"])
    if emitted[: len(output["tokens"])] != list(output["tokens"]):
        yield f"{where}: the output is not what the driver emitted."
    if cut < 0 or (driver and cut >= driver[-1]["emitted"]):
        yield f"{where}: {cut} emitted tokens are missing in the output."
    if any(row["committed"] != row["emitted"] for row in driver[:-1]):
        yield f"{where}: a step before the last was cut."
    if sum(row["committed"] for row in driver) != len(output["tokens"]):
        yield f"{where}: committed tokens are not as many as the output's."


def _run_key(row: Row) -> RunKey:
    run = (
        row["mode"],
        row["prompt_id"],
        row.get("draft_label"),
        row.get("processors_label"),
        row["tree"],
        row["temperature"],
    )
    return run if row["mode"] == "paired" else (*run, row["verifier"])


def _step_key(row: Row) -> RunKey:
    return (*_run_key(row), row["verifier"], row["step"])


def _where(row: Row) -> str:
    labels = (row.get("draft_label"), row.get("processors_label"))
    labelled = "".join(f"{label} on " for label in labels if label is not None)
    return f"{row['mode']} run of {row['prompt_id']} with {labelled}{row['tree']} at {row['temperature']:g}"
