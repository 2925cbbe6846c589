"""What became text: the path hangs together, the root is the text's last token, and what was emitted was committed."""

from __future__ import annotations

from specviz.recorder.checks.results import TEXT_LACKS, agreed, lacked
from specviz.recorder.checks.rows import View
from specviz.trace.checks import Check

PATH = "path"
ROOT = "root"
COMMITTED_TEXT = "committed_text"


def path(view: View) -> Check:
    """Each accepted node is a child of the one before it, the first one of the root; what is named exists."""
    step = view.step
    if not step.accepted and not step.no_nodes:
        return lacked(PATH, "an accepted node")
    last = len(view) - 1
    nodes = f"the nodes are 0 to {last}" if last else "there is node 0 alone"
    wrong: list[tuple[int | None, str]] = [
        (None, f"There is no node {node}, which {what} name{'s' * (what == 'accepted')}; {nodes}")
        for what, node in step.no_nodes
    ]
    wrong += [
        (node, f"Node {node} was accepted after node {before}, but is a child of node {step.parents[node]}")
        for before, node in zip([0, *step.accepted], step.accepted, strict=False)
        if step.parents[node] != before
    ]
    return agreed(PATH, len(step.accepted) + len(step.no_nodes), wrong)


def root(view: View, length: int | None = None) -> Check:
    """The tree grows from the last committed token, and the engine's text is as long as what it said of it.

    Args:
        length: of the engine's text, by positions and mask; None: as it was said.
    """
    step = view.step
    if not step.text:
        return lacked(ROOT, "the committed text")
    if step.guessed:
        return lacked(ROOT, TEXT_LACKS)
    wrong: list[tuple[int | None, str]] = []
    if step.text[-1] != step.tokens[0]:
        wrong.append((0, f"The root is token {step.tokens[0]}, but the text ends in token {step.text[-1]}"))
    elif len(step.text) != step.context:
        wrong.append((0, f"The text has {len(step.text)} tokens, not {step.context}"))
    if length is not None and length != step.context:
        other = f"positions and mask of all nodes are those of a text of {length}"
        said = [sentence for _, sentence in wrong]
        said.append(f"The text has {step.context} tokens by what was committed, but {other}")
        wrong = [(0, ". ".join(said))]
    return agreed(ROOT, 1, wrong)


def committed_text(view: View) -> Check:
    """What was committed is the accepted path and the bonus, or the beginning of that.

    Whether it may end early, at an end of sequence or a limit, is told over the whole run. Where no bonus was said, one
    more token than the path may follow.
    """
    step = view.step
    emitted, said = view.emitted, step.committed
    if step.derived:
        return lacked(COMMITTED_TEXT, "what was appended to the text (committed)")
    if not said and not emitted:
        return lacked(COMMITTED_TEXT, "a committed token")
    if step.bonus is None and len(said) == len(emitted) + 1:
        said = said[:-1]
        if not said:
            return lacked(COMMITTED_TEXT, "the bonus token")
    wrong: list[tuple[int | None, str]] = []
    for place, token in enumerate(said):
        node = view.walk[min(place, len(view.walk) - 1)]
        if place >= len(emitted):
            wrong.append((node, f"Token {token} was committed after the {len(emitted)} tokens of path and bonus"))
        elif token != emitted[place]:
            wrong.append((node, f"Token {token} was committed where path and bonus have token {emitted[place]}"))
    return agreed(COMMITTED_TEXT, max(1, len(said)), wrong)
