"""``docs/faults.md``, from the gallery's entries and its recordings: ``python -m tests.tools.fault_doc --write``.

Without ``--write`` it says whether the page is old.
"""

from __future__ import annotations

import sys
from functools import cache

from specviz.gallery import FAULTS, Fault
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding
from tests.paths import DOCS

PAGE = DOCS / "faults.md"
HEAD = """# A gallery of faults

Loops with one fault each, as others have had it, recorded by [`specviz.Recorder`](recorder.md) like any loop. *Faults*
on the page lists them; each opens at the step and the node where it shows, with what the checks say and where to look.
No model is needed, neither there nor for

```
python -m specviz audit assets/faults/no-compaction.json.gz
```

The loops are those of [the examples](examples/) with a few lines written otherwise (`tests/gallery/loops.py`), on the
default pair whose draft is asked without its head. Each file keeps what the models said of its rows when it was
recorded, so `target_rows` and `draft_rows` find their part without them; rows of all nodes were recomputed in the first
two steps, and of those on the path in all. `python -m tests.tools.record_faults` records them anew: it takes the first
seed with which the fault shows, and with the same seed the loop without the fault must be clean. `tests/gallery/` holds
every file to the checks of today, and every loop, on small random models, to its checks and to none without its fault.

The faults of draft heads are those of a chain from an EAGLE-3 head (`tests/gallery/head_loop.py`). The head of the
recordings is one that `train-draft --format eagle3` had begun for the default target; it does not ship, and another is
given with `--head`. An audit with models asks target and head again: a plain forward of the target, and one of the head
over all pairs of the text, gives the row that is due at every root.

"Met in" names an issue or a pull request about the same fault in other software; the loop here is ours, not theirs.
"""


def made() -> str:
    """The page as it ought to be."""
    return "\n".join([HEAD, *(section(number, fault) for number, fault in enumerate(FAULTS, start=1))])


@cache
def found_in(fault: Fault) -> tuple[Finding, ...]:
    """The findings of its recording, as far as something is wrong."""
    return tuple(one for one in audit(fault.load()) if isinstance(one, Finding) and one.weight != "note")


def section(number: int, fault: Fault) -> str:
    """What the page says of one fault."""
    found = found_in(fault)
    first = next(one for one in found if one.check == fault.checks[0])
    where = f"step {(first.step or 0) + 1}" + ("" if first.node is None else f", node {first.node}")
    checks = ", ".join(f"`{one.check}`" for one in found)
    met = ", ".join(f"[{report.name}]({report.address})" for report in fault.reports)
    rows = [
        f"## {number}. {fault.title}",
        "",
        f"{fault.said} {fault.more}",
        "",
        "| | |",
        "|---|---|",
        f"| recording | `assets/faults/{fault.name}.json.gz`, shows in {where} |",
        f"| found by | {checks} |",
        f"| look at | {fault.look} |",
        *([f"| met in | {met} |"] if met else []),
        "",
    ]
    return "\n".join(rows)


def main(words: list[str]) -> int:
    is_old = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made()
    write = "--write" in words
    if is_old:
        if write:
            PAGE.write_text(made(), encoding="utf-8")
        print(f"{PAGE.name} {'is made' if write else 'is old; add --write'}")
    return int(is_old and not write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
