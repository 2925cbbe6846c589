"""Several drafts of one target measured on the same held-out chats and prompts: one table, and tested differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from specviz.compare.statistics import Group, Tally, between_labels, block_efficiency, estimate
from specviz.compare.text_report import difference_cells, interval, table
from specviz.train.quality import TREES, VERIFIERS, Quality

_CHATS = "chats"


def several_table(measured: Mapping[str, Quality]) -> str:
    """For the command line.

    Args:
        measured: label of a draft -> what was measured of it, all on the same chats and prompts.
    """
    return "\n".join(_lines(measured)).rstrip()


def _lines(measured: Mapping[str, Quality]) -> Iterator[str]:
    one = next(iter(measured.values()))
    chats = [tally for label, quality in measured.items() for tally in _by_chat(label, quality)]
    runs = [tally for label, quality in measured.items() for tally in _by_prompt(label, quality)]
    yield f"{one.overlap.places:,} places of {one.overlap.chats} held-out chats, temperature 1"
    head = ["draft", "mean sum(min(p, q))", "same most likely token"]
    rows = []
    for label in measured:
        own = [tally for tally in chats if tally.group.draft == label]
        rows.append([label, *(interval(estimate(own, measure)) for measure in (_overlap, _same_top))])
    yield from table(head, rows)
    yield f"New tokens per target forward, {one.runs} held-out prompts, {one.new_tokens} tokens, temperature 1"
    rows = []
    for tree in TREES:
        for verifier in VERIFIERS:
            by_draft = [
                [it for it in runs if (it.group.tree, it.verifier, it.group.draft) == (tree, verifier, label)]
                for label in measured
            ]
            rows.append([tree, verifier, *(interval(estimate(own, block_efficiency)) for own in by_draft)])
    yield from table(["tree", "verifier", *measured], rows)
    yield "Differences in mean sum(min(p, q)), over the same chats"
    found = between_labels(chats, _overlap, "draft")
    yield from table(["drafts", "difference", "p", "Holm"], [difference_cells(it) for it in found])
    yield "Differences in new tokens per target forward, over the same prompts"
    apart = between_labels(runs, block_efficiency, "draft")
    rows = [[it.group.tree, it.group.draft or "", *difference_cells(it)] for it in apart]
    yield from table(["tree", "verifier", "drafts", "difference", "p", "Holm"], rows)
    yield "[ ]: 95 % bootstrap intervals over chats or prompts; p: exchange test over them; Holm: corrected"
    yield "Acceptance by sibling rank, for sequoia"
    for label, quality in measured.items():
        yield f"{label}: " + ",".join(f"{share:.3f}" for share in quality.ranks)


def _by_chat(label: str, quality: Quality) -> Iterator[Tally]:
    group = Group(_CHATS, "", 1.0, label)
    for number, (overlap, same, places) in enumerate(quality.by_chat):
        sums = {"overlap": (overlap, places), "same": (same, places)}
        yield Tally(group, "", str(number), _CHATS, 0, 0, 0, (), (), quality=sums)


def _by_prompt(label: str, quality: Quality) -> Iterator[Tally]:
    for tree, verifiers in quality.by_prompt.items():
        for verifier, runs in verifiers.items():
            for number, (new_tokens, steps) in enumerate(runs):
                group = Group("paired", tree, 1.0, label)
                yield Tally(group, verifier, str(number), "", steps, new_tokens - steps, new_tokens, (), ())


def _overlap(tally: Tally) -> tuple[float, float]:
    return tally.quality["overlap"]


def _same_top(tally: Tally) -> tuple[float, float]:
    return tally.quality["same"]
