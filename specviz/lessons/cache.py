"""The KV cache after the update: a step in which accepted entries had to be moved before the cache was cut."""

from __future__ import annotations

from typing import Any

from specviz.lessons.lesson import Facts, FilledLesson, Lesson, card, fill_templates, first_step, reasons, value
from specviz.trace.schema import Step, Trace


def fill(trace: Trace) -> FilledLesson:
    """Finds a step that moved at least two entries of the target's cache; asks for the farthest move."""

    def moved(step: Step) -> Any:
        moves = step.caches.whole("target").moves
        return moves if len(moves) > 1 else None

    step, moves = first_step(trace, moved)
    change = step.caches.whole("target")
    node_at = {slot.slot: slot.node for slot in change.appended if slot.node is not None}
    source, place = max(moves, key=lambda move: move[0] - move[1])
    node = node_at[source]
    moves_of = {node_at[a]: (a, b) for a, b in moves if a in node_at}

    def why(wrong: int) -> tuple[str, Facts] | None:
        if wrong in moves_of:
            a, b = moves_of[wrong]
            return "It moved from slot {source} to slot {place}; another one moved farther.", {
                "source": value(wrong, a),
                "place": value(wrong, b),
            }
        if wrong in step.verdicts[step.driver].path:
            return "It was accepted, but it lay in the right place already.", {}
        return None

    return fill_templates(
        step,
        step.driver,
        {
            "first": change.appended[0].slot,
            "last": change.appended[-1].slot,
            "kept": change.length_after - change.length_before,
            "dropped": len(change.dropped),
            "before": change.length_before,
            "after": change.length_after,
            "moves": len(moves),
            "node": card(node),
            "source": value(node, source),
            "place": value(node, place),
        },
        paragraphs=[
            "Each token of the tree left a **key and a value** in the cache, in the slots {first} to {last}, behind a "
            "context of {before}. After the verdict only the root and the accepted path may stay, in one row and in "
            "order.",
            "So the cache keeps {kept} of these entries and throws {dropped} away. Its length becomes {after}. "
            "Accepted nodes that did not lie in the right place are **moved first**: {moves} in this step.",
        ],
        aside="Just cutting the cache to the right length would leave strangers in those slots. Every later token "
        "would then look at words that were never written, and the text would still be fluent.",
        question="Which accepted node moved farthest in the target’s cache?",
        nodes=[node],
        hint="Below the tree, the cache shows the slots before and after; an arc leads from a slot to where its entry "
        "went.",
        solved="{node} went from slot {source} to slot {place}.",
        wrong=reasons(step, [node], why),
        otherwise="It was not accepted, so its entry was thrown away.",
        dock=True,
    )


LESSON = Lesson("cache", "The KV cache after the update", "traces/default-4-2-2", fill)
