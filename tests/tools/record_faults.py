"""Record the gallery of faults anew: ``python -m tests.tools.record_faults [--head FOLDER] [NAME ...]``.

Writes ``assets/faults``. The loops of ``tests/gallery/loops.py`` on the default pair, whose draft is asked without its
head, so that it reads tokens only. A seed is taken with which the fault shows, to its checks and to no others; the run
without the fault must be clean with the same seed. Both are asked what their models say of their rows, which the files
keep. The faults of heads need an EAGLE-3 head for the default target, as ``train-draft --format eagle3`` writes it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field

from specviz.gallery import FAULTS, Fault
from specviz.models.loading import load_pair
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding
from specviz.recorder.model_audit import with_row_checks
from specviz.trace.io import save_trace
from specviz.trace.schema import Trace
from tests.gallery.loops import LOOPS, HeadLoop, Loop, Pair, Sequoia, without

PROMPT = "Once upon a time there was a little snail who wanted to see the sea."
NEW_TOKENS = 28
EVERY_NODE = 2
"""Steps of which the rows of all nodes are recomputed, and not of those on the path alone."""
SEEDS = range(20)
BY_MODELS = {"target_rows", "draft_rows"}


def default_pair(head: str | None = None) -> Pair:
    """The default pair, or its target with a head, with a story to go on with."""
    pair = load_pair(draft=head or "default", device="cpu")
    if head:
        pair.draft.info = pair.draft.info.model_copy(update={"id": "an EAGLE-3 head", "source": None})
    (stop,) = pair.tokenizer.encode(",", add_special_tokens=False)
    return Pair(
        target=pair.target.model,
        draft=pair.draft if head else pair.draft.model,
        prompt=pair.encode(PROMPT, False, "drop"),
        decode=pair.tokenizer.decode,
        end=min(pair.eos_ids),
        stop=stop,
    )


def found_in(trace: Trace) -> set[str]:
    """The checks that find something."""
    return {one.check for one in audit(trace) if isinstance(one, Finding) and one.weight != "note"}


def shows(fault: Fault, found: set[str]) -> bool:
    """Whether what was found is what the entry says."""
    return {*fault.checks} <= found <= {*fault.checks, *fault.also}


@dataclass
class Recording:
    """Of one pair.

    Attributes:
        clean: what was found in loops without their fault, many of which are the same loop.
    """

    pair: Pair
    clean: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    def record(self, fault: Fault, seed: int) -> tuple[Trace | None, set[str]]:
        """The run if it shows the fault, and what was found in it."""
        loop = LOOPS[fault.name]
        trace = loop.record(self.pair, True, new_tokens=NEW_TOKENS, seed=seed)
        found = found_in(trace)
        if not {*fault.checks} - BY_MODELS <= found:
            return None, found
        trace = self.asked(loop, trace)
        found = found_in(trace)
        return (trace if shows(fault, found) and not self.found_without(loop, seed) else None), found

    def found_without(self, loop: Loop, seed: int) -> set[str]:
        """What is found in the same loop without its fault."""
        key = (str(without(loop)), seed)
        if key not in self.clean:
            self.clean[key] = found_in(
                self.asked(loop, loop.record(self.pair, False, new_tokens=NEW_TOKENS, seed=seed))
            )
        return self.clean[key]

    def asked(self, loop: Loop, trace: Trace) -> Trace:
        """With what the models say of its rows; the stand-in of Sequoia has none."""
        if isinstance(loop, Sequoia):
            return trace
        return with_row_checks(trace, self.pair.target, self.pair.draft, every_node=EVERY_NODE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="(default: all)")
    parser.add_argument("--head", metavar="FOLDER", help="an EAGLE-3 head for the default target")
    options = parser.parse_args()
    wanted = [fault for fault in FAULTS if fault.name in (options.names or LOOPS)]
    of_heads = [fault for fault in wanted if isinstance(LOOPS[fault.name], HeadLoop)]
    missing = []
    for head, faults in ((None, [one for one in wanted if one not in of_heads]), (options.head, of_heads)):
        if faults and (head or faults is not of_heads):
            recording = Recording(default_pair(head))
            missing += [fault.name for fault in faults if not kept(recording, fault)]
        elif faults:
            missing += [fault.name for fault in faults]
    print(f"not recorded: {', '.join(missing)}" if missing else "all recorded")
    return int(bool(missing))


def kept(recording: Recording, fault: Fault) -> bool:
    """Whether a seed was found with which it shows; the run is then written."""
    for seed in SEEDS:
        trace, found = recording.record(fault, seed)
        said = f"{fault.name}, seed {seed}: {', '.join(sorted(found)) or 'nothing'}"
        print(said if trace is None else f"{said}; {len(trace.steps)} steps, kept", flush=True)
        if trace is not None:
            save_trace(trace, fault.file)
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
