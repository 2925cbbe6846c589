"""Write what independent implementations of step heads give on small seeds, for the tests that have none of them.

    EAGLE_CODE=path/to/EAGLE python -m tests.tools.head_references [case ...]

It needs what the tests in tests/oracles need. The files are compared in tests/models/heads/test_step_heads.py.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tests.head_cases import CASES, REFERENCES, Case, files, given, target
from tests.step_scenario import play

SOURCES = {
    "speculators": "speculators {}, Eagle3DraftModel",
    "cnets": "SafeAILab/EAGLE eagle/model/cnets.py",
    "cnets1": "SafeAILab/EAGLE eagle/model/cnets1.py",
    "mtp": "transformers {}, MtpModel",
}


def measured(case: Case, folder: Path) -> dict[str, Any]:
    """What a file holds: logits, and for EAGLE's own code the trees of EAGLE-2."""
    from tests.oracles import implementations as theirs

    package = {"speculators": "speculators", "mtp": "transformers"}.get(case.oracle)
    logits = play(theirs.step_oracle(case, folder), given(case))
    found: dict[str, Any] = {"made_by": SOURCES[case.oracle].format(version(package) if package else "")}
    found["logits"] = [[float(f"{value:.8g}") for value in row] for row in logits.tolist()]
    if "cnets" in case.oracle:
        model = theirs.cnets_model(case.oracle, *files(case))
        head = target(case).lm_head.weight if case.oracle == "cnets1" else None
        found["trees"] = theirs.eagle2_trees(model, given(case), head)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="names of cases; all of them without any")
    names = parser.parse_args().cases
    torch.set_num_threads(1)
    for case in CASES:
        if not names or case.name in names:
            with tempfile.TemporaryDirectory() as folder:
                found = measured(case, Path(folder))
            REFERENCES.mkdir(exist_ok=True)
            text = json.dumps(found, separators=(",", ":")).replace("],[", "],\n[")
            (REFERENCES / f"{case.name}.json").write_text(text + "\n", encoding="utf-8")
            print(f"{case.name}: {len(text):,} characters")


if __name__ == "__main__":
    main()
