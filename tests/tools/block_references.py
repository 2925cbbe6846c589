"""Write the numbers that independent implementations give for the block heads of :mod:`tests.block_scenario`.

    MEDUSA_CODE=... DFLASH_CODE=... DEEPSPEC_CODE=... python -m tests.tools.block_references

See :mod:`tests.oracles` for what has to be installed, and where the three checkouts come from.
"""

from __future__ import annotations

import json

from tests.block_scenario import CASES, REFERENCES, target
from tests.oracles.block_implementations import play


def main() -> None:
    """Write the file that the ordinary tests read."""
    found = {}
    for name, case in CASES.items():
        played = play(case.implementation, case.files(target().config))
        found[name] = {
            what: [[_short(row) for row in block.reshape(len(block), -1).tolist()] for block in blocks]
            for what, blocks in played.items()
        }
    REFERENCES.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(name)}: {json.dumps(rows, separators=(',', ':'))}" for name, rows in found.items()]
    REFERENCES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _short(row: list[float]) -> list[float]:
    return [float(f"{number:.7g}") for number in row]


if __name__ == "__main__":
    main()
