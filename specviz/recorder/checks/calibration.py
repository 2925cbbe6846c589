"""Are drawn tokens as surprising, in the mean, as the rows say that they were drawn from?

A token x drawn from a row p has ``-log p(x)`` equal to the entropy H(p) in the mean, with the variance of ``log p``
under p. So ``-log p(x) - H(p)``, added up over tokens, is 0 in the mean, and its variance is the sum of these
variances, whatever the rows are and however each depends on the tokens before it: the sum is a martingale. That holds
only if whether a token is counted does not depend on that token, nor on what comes after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from specviz.recorder.checks.results import PATH_LACKS, lacked
from specviz.recorder.checks.rows import Surprise, View, missing_rows, surprise
from specviz.recorder.checks.rule import Lacking, claimed
from specviz.trace.checks import Check
from specviz.trace.schema import cut

DRAFT = "draft_calibration"
COMMITTED = "committed_calibration"
BONUS = "bonus_calibration"
COINS_FIRST = ("rejection", "traversal")
"""Rules that end their walk by coins alone, before the bonus is drawn."""
CALIBRATIONS = (DRAFT, BONUS, COMMITTED)


def draft_calibration(view: View) -> Check:
    """The first sibling of every family against the draft's row that it was drawn from.

    First siblings only: with or without replacement they are plain draws. Top-k children are chosen, not drawn. Which
    families there are may depend on tokens above them, never on the sibling that is counted.
    """
    step = view.step
    if step.proposal is None:
        return lacked(DRAFT, "how siblings were proposed (proposal)")
    if step.proposal == "top_k":
        return lacked(DRAFT, "siblings that were drawn by chance: these are the draft's most likely tokens")
    if step.q is None:
        return lacked(DRAFT, missing_rows(step, "draft"))
    found = []
    for node, siblings in enumerate(view.children):
        row = view.q(node)
        if siblings and row is not None:
            found.append((siblings[0], surprise(row, view.column(step.tokens[siblings[0]]))))
    return _summed(DRAFT, found, view, "the draft's row that it is said to be drawn from")


def committed_calibration(view: View) -> Check:
    """Every committed token against the target's row after the text before it.

    The row of the i-th token is the one at the i-th node of the walk: the root, then the accepted nodes. Counted are
    tokens down to the first of these nodes that has no row; all of them where all rows were recorded. See
    docs/audit.md for why that is unbiased for every lossless engine, whichever rule it has.
    """
    step = view.step
    if step.p is None:
        return lacked(COMMITTED, missing_rows(step, "target"))
    if (step.rule or "").partition(":")[0] == "greedy":
        return lacked(COMMITTED, "tokens that were drawn by chance: by the rule greedy they are the most likely ones")
    if not step.committed:
        return lacked(COMMITTED, "a committed token")
    if not view.hangs_together:
        return lacked(COMMITTED, PATH_LACKS)
    if step.committed != view.emitted[: len(step.committed)]:
        return lacked(COMMITTED, "committed tokens that are the accepted path and the bonus")
    found = []
    for node, token in zip(view.walk, step.committed, strict=False):
        row = view.p(node)
        if row is None:
            break
        found.append((node, surprise(row, token)))
    if not found:
        return lacked(COMMITTED, "the target's row at the root")
    return _summed(COMMITTED, found, view, "the target's row at this node", "the token committed after {}")


def bonus_calibration(view: View) -> Check:
    """The bonus against the row that the engine said it drew it from; where it said none, against the rule's.

    Counted is a bonus after a leaf, and any of a rule that ends its walk before the bonus is drawn. Other rules draw a
    token first and walk on where it is a child: there a bonus is what no child is, and a too unlikely one.
    """
    step = view.step
    if step.bonus is None:
        return lacked(BONUS, "the bonus token")
    rule, end = (step.rule or "").partition(":")[0], view.walk[-1]
    if view.children[end] and rule not in COINS_FIRST:
        return lacked(
            BONUS, f"a bonus after a leaf, or a rule that throws its coins first ({' or '.join(COINS_FIRST)})"
        )
    row = step.bonus_row
    if row is None:
        if step.rule is None:
            return lacked(BONUS, "the row that the bonus was drawn from (bonus_row), or the rule that leaves it (rule)")
        try:
            row = claimed(view).bonus_row()
        except Lacking as lack:
            return lacked(BONUS, str(lack))
    found = [(end, surprise(row, step.bonus))]
    return _summed(BONUS, found, view, "the row that it was drawn from", "the bonus after {}")


def _summed(name: str, found: Iterable[tuple[int, Surprise]], view: View, row: str, what: str = "{}") -> Check:
    """The sums over tokens; a token of probability 0 cannot have been drawn, and is a failure by itself."""
    found = list(found)
    if not found:
        return lacked(name, "a drawn token whose row was recorded")
    wrong = [(node, one) for node, one in found if not math.isfinite(one.score)]
    counted = [one for _, one in found if math.isfinite(one.score)]
    message = None
    if wrong:
        node, one = wrong[0]
        what = what.format(view.named(node))
        said = (
            f"no probability in {row}, which is no distribution" if math.isnan(one.score) else f"probability 0 in {row}"
        )
        message = cut(f"{what[0].upper()}{what[1:]} has {said}.")
    return Check(
        name=name,
        compared=len(found),
        failed=len(wrong),
        node=wrong[0][0] if wrong else None,
        score=math.fsum(one.score for one in counted),
        variance=math.fsum(one.variance for one in counted),
        message=message,
    )
