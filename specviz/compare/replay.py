"""From a row of a comparison back to its run: with what it can be made again, and whether the new run agrees.

A comparison keeps rows and no traces. The page makes a run again, from the settings in the comparison's folder, to
show it step by step; where it then differs from the recorded rows, the page says where and, as far as known, why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from pydantic import ValidationError

from specviz.compare.prompts import Prompt
from specviz.compare.read import MOST_PLAN_BYTES, PLAN, models_of, output_of, steps_of
from specviz.compare.rows import NO_DRAFT, SAMPLING, Row
from specviz.compare.run_unit import named
from specviz.compare.spec import Comparison, Unit, draft_of, known_verifiers, read_comparison, settings_of, taking_part
from specviz.compare.statistics import Group
from specviz.errors import SettingsError
from specviz.models.pair_spec import ModelChoice
from specviz.trace.identity import known_weights, refuse_other_models
from specviz.trace.schema import Models, Settings, Step
from specviz.verifiers import Verifier


@dataclass(frozen=True)
class ReplayableRun:
    """A run of a comparison, as it can be run again.

    Attributes:
        known: verifiers by the names that the settings have for them.
        names: label in the rows -> name in the settings.
        rows: of all its steps.
        models: (target, draft) that made the rows, with their revisions.
        recorded: the same with what tells them from others of these names; None where that was not recorded.
    """

    pair: ModelChoice
    settings: Settings
    prompt: str
    known: Mapping[str, Verifier]
    names: Mapping[str, str]
    rows: Sequence[Row] = field(repr=False, default=())
    models: tuple[str, str] = ("", "")
    recorded: Models | None = None

    def refuse_others(self, models: Models) -> None:
        """Check that loaded models are the ones that made the rows, as far as the rows name them.

        Raises:
            SettingsError: if it is another one: its run would be compared with rows that it never made.
        """
        if self.recorded is not None:
            refuse_other_models(models, self.recorded)


def read_settings(folder: Path) -> tuple[Comparison, ModelChoice]:
    """What a folder compares, also of one that a stranger sent.

    Raises:
        SettingsError: without such a file, or if it is no comparison's.
    """
    path = folder / PLAN
    if not path.is_file():
        raise SettingsError(
            f"Without {PLAN} it is not known how these runs were made; open that file together with the others."
        )
    try:
        text = path.read_bytes()
        if len(text) > MOST_PLAN_BYTES:
            raise ValueError
        found = json.loads(text)
        comparison = read_comparison(found["comparison"])
        given = {name: value for name, value in found["pair"].items() if name in _PAIR}
        renamed = given.get("allow_renamed_tokens", False)
        texts = [value for name, value in given.items() if name != "allow_renamed_tokens"]
        if not isinstance(renamed, bool) or not all(isinstance(text, str) and len(text) <= 300 for text in texts):
            raise ValueError
        return comparison, ModelChoice(**given)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError):
        raise SettingsError(f"{PLAN} is no comparison of this version, so its runs cannot be made again.") from None


_PAIR = {one.name for one in fields(ModelChoice)} - {"device"}


def replayable_run(folder: Path, group: Group, prompt_id: str, verifier: str | None = None) -> ReplayableRun:
    """Everything that is needed to make a run of a comparison again.

    Args:
        verifier: label of the verifier that the run belongs to; for free runs only, paired ones belong to all.

    Raises:
        SettingsError: if the folder does not say so, or its files do not belong together.
    """
    comparison, pair = read_settings(folder)
    rows = steps_of(folder, group, prompt_id, verifier)
    output = output_of(folder, group, prompt_id, verifier)
    if not rows or output is None:
        raise SettingsError("The rows of this run are not all there; open the files of steps and outputs together.")
    labels = {tree.label for tree in comparison.trees} | {NO_DRAFT}
    taking = {one.label for one in taking_part(comparison)} | {SAMPLING}
    if group.tree not in labels or (group.mode == "free" and verifier not in taking):
        raise SettingsError(f"The rows and {PLAN} are of different comparisons; open files that belong together.")
    drafts, sets = ({one.label for one in some} for some in (comparison.drafts, comparison.processor_sets))
    if group.draft not in drafts | {None} or group.processors not in sets | {None}:
        raise SettingsError(f"The rows and {PLAN} are of different comparisons; open files that belong together.")
    if (name := draft_of(comparison, group.draft)) is not None:
        pair = replace(pair, draft=name)
    prompt = Prompt(prompt_id, output["kind"], output["prompt"])
    whose = output["verifier"] if group.mode == "free" else None
    unit = Unit(
        0,
        "free" if whose else "paired",
        prompt,
        group.tree,
        rows[0]["temperature"],
        whose,
        group.draft,
        group.processors,
    )
    chosen = comparison.model_copy(update={"chat": output["chat"]})
    settings = settings_of(chosen, unit, has_template=False)
    if settings.seed != output["seed"] or output["temperature"] not in comparison.temperatures:
        raise SettingsError(f"The rows and {PLAN} are of different comparisons; open files that belong together.")
    settings = settings.model_copy(update={"record_top_k": Settings().record_top_k})
    known = known_verifiers(comparison)
    rules = {one.name: known[one.name] for one in settings.verifiers}
    names = _plain_names(comparison, settings)
    if names:
        verifiers = tuple(one.model_copy(update={"name": names[one.name]}) for one in settings.verifiers)
        settings = settings.model_copy(update={"verifiers": verifiers, "driver": names[settings.driver]})
    else:
        names = {name: name for name in rules}
    models = (output["target"], output["draft"])
    return ReplayableRun(pair, settings, prompt.text, known, names, rows, models, models_of(folder, group.draft))


def _plain_names(comparison: Comparison, settings: Settings) -> dict[str, str]:
    """Label -> the verifier behind it, if every one takes part once: then the form can hold the settings, too."""
    rules = {one.label: one.choice.name for one in taking_part(comparison)}
    names = {one.name: rules[one.name] for one in settings.verifiers}
    return names if len(set(names.values())) == len(names) else {}


def replay_difference(run: ReplayableRun, steps: Sequence[Step], models: Models) -> str | None:
    """One sentence about the first step that came out otherwise than recorded; None if all agree with the rows.

    Args:
        steps: from the first one on, at least one.
    """
    by_step: dict[int, dict[str, Row]] = {}
    for row in run.rows:
        by_step.setdefault(row["step"], {})[row["verifier"]] = row
    for step in steps:
        for label, row in by_step.get(step.index, {}).items():
            told = _outcome(row, step, run.names.get(label, label))
            if told:
                return f"Step {step.index + 1} is not as it was recorded: {label} {told}{_why(run, models)}"
    return None


def _outcome(row: Row, step: Step, name: str) -> str | None:
    verdict = step.verdicts.get(name)
    if verdict is None:
        return "is not among the verifiers of this run"
    if len(step.tree.nodes) - 1 != row["nodes"] or step.context != row["context"]:
        now = f"now {len(step.tree.nodes) - 1} after {step.context}"
        return f"judged {row['nodes']} nodes after {row['context']} tokens, {now}"
    tokens = [step.tree.nodes[node].token for node in verdict.path]
    if tokens != list(row["path_tokens"]) or list(verdict.path) != list(row["path"]):
        return f"accepted {row['accepted']} tokens, now {len(verdict.path)}" + (
            " others" if len(verdict.path) == row["accepted"] else ""
        )
    if verdict.known_bonus().token != row["bonus_token"]:
        return "accepted the same tokens, and another bonus token came after them"
    return None


def _why(run: ReplayableRun, models: Models) -> str:
    now = [named(model) for model in models.both()]
    other = [f"{then[:80]}, now {here[:80]}" for then, here in zip(run.models, now, strict=True) if then != here]
    if other:
        return f"; it was recorded with other models ({'; '.join(other)})."
    if run.recorded is not None and known_weights(models, run.recorded):
        return (
            "; the weights are the recorded ones as far as their hash samples them, so this version, the number format "
            "or the device's rounding differ."
        )
    return "; the models have the same names, so their files, this version or the rounding of this device differ."
