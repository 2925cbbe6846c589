"""The trial: ``python -m tests.tools.recorder_trial`` runs the example loops, sound and with every planted fault.

Sound ones at temperatures 0, 0.7 and 1 in float32 and bfloat16, 200 steps each; with a fault 60 steps each. Prints what
an audit with both models finds, and exits with 1 where a sound run has a finding or a fault has none.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from specviz.recorder.audit import audit, fails
from specviz.recorder.findings import Finding
from specviz.trace.schema import Trace
from tests.recorder import loops


def told(name: str, trace: Trace, dtype: torch.dtype, began: float) -> bool:
    """Print the findings of a run; whether there is one."""
    found = audit(trace, *loops.models(dtype))
    wrong = [f"{one.check} ({one.weight})" for one in found if isinstance(one, Finding) and one.weight != "note"]
    scores = [
        f"{one.check.partition('_')[0]} {one.sentence.split(': ')[-1].partition(' (')[0]}"
        for one in found
        if isinstance(one, Finding) and one.check.endswith("calibration")
    ]
    seconds = time.perf_counter() - began
    print(f"{name}: {len(trace.steps)} steps, {seconds:.0f} s: {', '.join(wrong) or 'nothing'} | {', '.join(scores)}")
    sys.stdout.flush()
    return fails(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="of a sound run")
    parser.add_argument("--fault-steps", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fine = True
    for dtype in (torch.float32, torch.bfloat16):
        for temperature in (0.0, 0.7, 1.0):
            for example in ("chain", "tree"):
                began = time.perf_counter()
                # At least one token a step.
                trace = loops.run(example, temperature=temperature, dtype=dtype, new_tokens=2 * options.steps).trace()
                trace = trace.model_copy(update={"steps": trace.steps[: options.steps]})
                name = f"sound {example}, temperature {temperature}, {str(dtype).removeprefix('torch.')}"
                fine &= not told(name, trace, dtype, began)
    for fault, planted in loops.FAULTS.items():
        began = time.perf_counter()
        trace = loops.run(planted.example, fault=fault, new_tokens=options.fault_steps).trace()
        fine &= told(fault, trace, torch.float32, began)
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
