"""A comparison's folder while it is being made: which units of work are done, and which are missing.

A comparison can be killed and started again, or shared by several processes and machines, without a unit being lost or
counted twice: a finished unit is one small file that is renamed into place, so a folder never holds half of one, and
its contents do not depend on which process made it or when.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from specviz.compare.prompts import Prompt
from specviz.compare.read import PLAN
from specviz.compare.run_unit import Result, pack, run_unit, unpack
from specviz.compare.spec import Comparison, Unit, draft_of, read_comparison, units
from specviz.errors import SettingsError
from specviz.models.download_cache import ProgressCallback
from specviz.models.loading import Pair
from specviz.models.one_target import OneTarget
from specviz.models.pair_spec import ModelChoice
from specviz.models.prompt_ends import without_added_end
from specviz.trace.identity import other_models
from specviz.trace.schema import Models
from specviz.verifiers import load_verifier

PROMPTS = "prompts.jsonl"
WORK = "work"
CARD = "README.md"
"""Written last: a folder that has it is finished."""


@dataclass(frozen=True)
class Job:
    """Everything that a worker process needs to do any unit of a comparison. It can be sent to another machine.

    Attributes:
        user_verifiers: ``module:name``, imported before anything else.
        threads: how many threads torch may use; None leaves torch's default.
    """

    comparison: Comparison
    prompts: tuple[Prompt, ...]
    pair: ModelChoice
    user_verifiers: tuple[str, ...] = ()
    threads: int | None = None

    def units(self) -> list[Unit]:
        """All units of the comparison, in order of their index."""
        return units(self.comparison, self.prompts)

    def pair_of(self, unit: Unit) -> ModelChoice:
        """The models of a unit."""
        draft = draft_of(self.comparison, unit.draft)
        return self.pair if draft is None else replace(self.pair, draft=draft)


class Worker:
    """A loaded target that does units, with one draft at a time beside it."""

    def __init__(self, job: Job, progress: ProgressCallback | None = None):
        import torch

        if job.threads is not None:
            torch.set_num_threads(job.threads)
        for spec in job.user_verifiers:
            load_verifier(spec)
        self._job = job
        self._units = job.units()
        self._progress = progress
        self._pairs = OneTarget()
        refuse_ended_prompts(self._pair(self._units[0]), job.comparison, job.prompts)

    def _pair(self, unit: Unit) -> Pair:
        return self._pairs.load(self._job.pair_of(unit), self._progress)

    def run(self, index: int) -> bytes:
        """Do unit number ``index`` and return its rows as bytes, see :func:`~specviz.compare.run_unit.pack`."""
        unit = self._units[index]
        return pack(run_unit(self._pair(unit), self._job.comparison, unit))


def refuse_ended_prompts(pair: Pair, comparison: Comparison, prompts: Sequence[Prompt]) -> None:
    """See, before the first run, that the tokenizer does not end every prompt; one that ends itself is a run's outcome.

    Raises:
        SettingsError: if it does, and the comparison does not say what to do then.
    """
    chat = comparison.chat is not False and bool(getattr(pair.tokenizer, "chat_template", None))
    for prompt in prompts[:1] if not chat else ():
        ids = list(pair.tokenizer(prompt.text)["input_ids"])
        without_added_end(pair.tokenizer, prompt.text, ids, pair.eos_ids, comparison.prompt_end_token)


# --------------------------------------------------------------------------------------------------- the folder


def open_folder(folder: Path, job: Job) -> Job:
    """Prepare an empty folder for this job, or check that the folder was prepared for the same one.

    Returns:
        The job, as the folder began it: one that 0.1.0 began goes on with prompts as they are, see
        :func:`~specviz.compare.spec.read_comparison`.

    Raises:
        SettingsError: if it belongs to another comparison, or cannot be written to.
    """
    plan = _plan(job)
    try:
        if not is_finished(folder):
            (folder / WORK).mkdir(parents=True, exist_ok=True)
        if not (folder / PLAN).exists():
            if any(entry.name not in (WORK, PROMPTS) for entry in folder.iterdir() if not entry.name.startswith(".")):
                raise SettingsError(f"The folder {str(folder)!r} holds other things; name one that is empty or new.")
            lines = "".join(json.dumps(_without_none(prompt), ensure_ascii=False) + "\n" for prompt in job.prompts)
            write_atomically(folder / PROMPTS, lines.encode("utf-8", "replace"))
            write_atomically(folder / PLAN, (json.dumps(plan, indent=1, ensure_ascii=False) + "\n").encode())
            return job
        written = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        found = _with_defaults(written)
        is_old = found != written and "prompt_end_token" not in written["comparison"]
        if is_old and job.comparison.prompt_end_token == "refuse":  # nothing else was asked for
            job = replace(job, comparison=job.comparison.model_copy(update={"prompt_end_token": "keep"}))
            plan = _plan(job)
    except OSError as error:
        raise SettingsError(f"The folder {str(folder)!r} cannot be used ({error.strerror}); name another.") from None
    except ValueError:
        found = {}
    if found != plan:
        other = sorted(name for name in plan if not isinstance(found, dict) or found.get(name) != plan[name])
        raise SettingsError(
            f"The folder {str(folder)!r} holds another comparison (other {', '.join(other) or 'fields'}); "
            "repeat its options, or name another folder."
        )
    return job


def is_finished(folder: Path) -> bool:
    """Whether all rows are in the Parquet files."""
    return (folder / CARD).exists() and (folder / PLAN).exists()


def read_plan(folder: Path) -> tuple[Comparison, ModelChoice]:
    """What a folder compares.

    Raises:
        SettingsError: if it is the folder of no comparison.
    """
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return read_comparison(found["comparison"]), ModelChoice(**found["pair"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        raise SettingsError(f"There is no comparison in {str(folder)!r}; make one with compare.") from None


def _plan(job: Job) -> dict[str, Any]:
    """What ``comparison.json`` holds and a folder is recognized by; not the device, which may differ in a cluster."""
    prompts = hashlib.sha256(json.dumps([asdict(prompt) for prompt in job.prompts]).encode()).hexdigest()
    pair = asdict(job.pair)
    del pair["device"]
    return {
        "comparison": _fields(job.comparison),
        "pair": pair,
        "prompts": f"sha256:{prompts}",
        "user_verifiers": list(job.user_verifiers),
        "units": len(job.units()),
    }


def _with_defaults(found: Any) -> Any:
    """A folder's plan with what an earlier version did not write yet; unchanged where it is no plan."""
    try:
        comparison = read_comparison(found["comparison"])
        pair = asdict(ModelChoice(**found["pair"]))
    except (ValidationError, KeyError, TypeError):
        return found
    del pair["device"]
    return found | {"comparison": _fields(comparison), "pair": pair}


def _fields(comparison: Comparison) -> dict[str, Any]:
    """As ``comparison.json`` has them: drafts only where they are named, so that earlier versions read the others."""
    return comparison.model_dump(mode="json", exclude=None if comparison.drafts else {"drafts"})


def _without_none(prompt: Prompt) -> dict[str, str]:
    return {name: value for name, value in asdict(prompt).items() if value is not None}


def unit_path(folder: Path, index: int) -> Path:
    return folder / WORK / f"unit-{index:06}.json.gz"


def missing(folder: Path, job: Job, shard: tuple[int, int] = (1, 1)) -> list[int]:
    """Indices of the units of a shard (i of n) that are not done."""
    number, of = shard
    return [
        unit.index
        for unit in job.units()
        if unit.index % of == number - 1 and not unit_path(folder, unit.index).exists()
    ]


def write_unit(folder: Path, index: int, packed: bytes) -> None:
    """Add a finished unit, all of it or nothing.

    Raises:
        SettingsError: if other models made it than made the first one here.
    """
    result = unpack(packed)
    _see_models(folder / WORK, result.draft, result.models)
    write_atomically(unit_path(folder, index), packed)


def _see_models(work: Path, draft: str | None, models: Models) -> None:
    """Remember which models the first unit of a draft was made by, and compare those of the others with them.

    The target is one for all drafts; that of the others is compared when they are merged.
    """
    mark = "" if draft is None else f"-{hashlib.sha256(draft.encode('utf-8', 'replace')).hexdigest()[:16]}"
    path = work / f"models{mark}.json"
    try:
        first = Models.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):  # this is the first; or the file is damaged, and merging compares all of them
        write_atomically(path, models.model_dump_json().encode())
        return
    if other := other_models(models, first):
        raise SettingsError(
            f"The runs that are done in {str(work.parent)!r} were made by other models ({other}); go on with "
            "those, or name another folder."
        )


def read_unit(folder: Path, index: int) -> Result:
    """A finished unit.

    Raises:
        SettingsError: if its file is damaged; it is removed then, so that the next run does it again.
    """
    path = unit_path(folder, index)
    try:
        result = unpack(path.read_bytes())
        if result.index == index:
            return result
    except (OSError, SettingsError):
        pass
    path.unlink(missing_ok=True)
    raise SettingsError(f"The unit {path.name} was damaged and is removed; run the same command again to replace it.")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see all of it or what was there before, also if this process is killed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


# ------------------------------------------------------------------------------------------------ in this process


def run_here(job: Job, indices: Sequence[int], progress: ProgressCallback | None = None) -> Iterator[tuple[int, bytes]]:
    """Do the units one after the other in this process."""
    worker = Worker(job, progress)
    for index in indices:
        yield index, worker.run(index)
