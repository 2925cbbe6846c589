"""Runs as another engine would have recorded them: specviz's own with everything taken out that it did not say.

Level 1 has tokens, parents, accepted nodes and the bonus token; 2 adds rows and how siblings were proposed; 3 coins,
thresholds and what the bonus token was drawn from, with specviz's own rule beside the engine's; 4 the caches with
fingerprints, masks and positions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specviz.recorder.recording import RecordingFile, new_id
from specviz.trace.recording import Run
from specviz.trace.schema import Check, Trace

ENGINE = "my-loop"


def foreign(trace: Trace, level: int, *, texts: bool = True, checks: tuple[Check, ...] = ()) -> Trace:
    """``trace`` as another engine would have said it.

    Args:
        texts: whether it gave the texts of its tokens.
        checks: of each step.
    """
    value = trace.model_dump(mode="json")
    sampling = value["settings"]["target"]
    value["engine"] = {"name": ENGINE, "version": "0.3", "rule": "rejection", "lossless": None}
    value["engine"] |= {"target": sampling if level > 1 else None, "draft": None, "options": {}}
    value |= {"settings": None, "id": f"{trace.id}-level-{level}", "prompt": trace.prompt if texts else ""}
    if not texts:
        value["prompt_texts"] = []
    if level == 1:
        value["models"] |= {"target": None, "draft": None}
    for step in value["steps"]:
        _take_out(step, level, texts)
        step["checks"] = [check.model_dump(mode="json") for check in checks]
    return Trace.model_validate_json(json.dumps(value))


def _take_out(step: dict[str, Any], level: int, texts: bool) -> None:
    tree, own = step["tree"], step["verdicts"][step["driver"]]
    tree["builder"] = None
    if level < 2:
        tree["proposal"] = None
    for node in tree["nodes"]:
        if not texts:
            node["text"] = None
        for model in ("draft", "target"):
            if level < 2:
                node[model] = node[f"{model}_prob"] = None
            elif node[model]:
                node[model] |= {"raw": None, "top_logit": None}  # it gave probabilities
    said = own | {"verifier": ENGINE, "options": {}, "lossless": "unknown", "expected_acceptance": None}
    said["thresholds"] = [None] * len(tree["nodes"])
    said["decisions"] = [decision | {"reason": None, "residual": None} for decision in own["decisions"]]
    bonus = said["bonus"] = dict(own["bonus"])
    if not texts:
        bonus["text"] = None
    if level < 3:
        said["decisions"] = []
        bonus |= {"source": None, "uniform": None, "distribution": None, "draft_rank": None}
    for decision in said["decisions"]:
        said["thresholds"][decision["node"]] = decision["threshold"]
    step["verdicts"] = {ENGINE: said} | ({step["driver"]: own} if level > 2 else {})
    step["driver"] = ENGINE
    step |= {"timings": None, "prefilled": None, "settings": None, "models": None}
    if not texts:
        step["tokens"] = []
    for name in ("target", "draft"):
        change = step["caches"][name]
        if level < 4:
            step["caches"][name] = None
        elif change:
            change |= {"moves": None, "dropped": None, "audit": None}


def write_recording(path: Path, requests: Mapping[str | None, Trace]) -> None:
    """Write runs of another engine to one recording, as its requests by name, one after the other."""
    file = RecordingFile(path, new_id())
    for name, trace in requests.items():
        known = {field: getattr(trace, field) for field in Run.model_fields}
        for part in (Run(**known), *trace.steps):
            file.add(name, part)
    file.close()
