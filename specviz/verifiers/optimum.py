"""The largest acceptance that a lossless rule can have at one node, and what a rule itself can expect there.

Of k siblings proposed from q by a known scheme, a lossless rule that decides node by node accepts one with probability
at most

    optimum = 1 + min over sets H of tokens of (p(H) - Q(H)),    Q(H) = P(all k proposals lie in H)

(Hu et al. 2025, arXiv 2502.18779, the dual of the transport problem of SpecTr, arXiv 2310.15141). It bounds one node,
or the first token of a step, and no path: traversal carries worth from node to node and may accept more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from specviz.interruption import end_if_asked
from specviz.trace.schema import Proposal
from specviz.transfers import upload
from specviz.tree import TokenTree
from specviz.verifiers.base import Judgement, Verifier

STEP = 0.25
"""Of the trapezoidal rule over the logarithm of time. What it integrates is analytic where the imaginary part is below
pi / 2, so that the rule errs by about ``exp(-pi^2 / STEP)``, 7e-18."""
_NEGLIGIBLE = 1e-17
_CERTAIN = 40.0
"""From this rate on a token has arrived: that it has not has a probability below 5e-18."""
_LARGEST_EXPONENT = 600.0
_ENTRIES_AT_ONCE = 1 << 18


def proposed_within(q: torch.Tensor, k: int, proposal: Proposal, most: int | None = None) -> torch.Tensor:
    """Q of the first 0, 1, ..., m tokens: with which probability all proposals are among them.

    Args:
        q: [m] float64, of all tokens of positive probability, in any order; sums to 1.
        k: how many are proposed, without replacement at most m; not for top-k, which draws nothing.
        most: how many of the tokens to go through, by default all.

    Returns:
        [most + 1], from 0 to 1.
    """
    most = len(q) if most is None else most
    within = _with_zero(q[:most].cumsum(0))
    if k == 1:
        found = within
    elif proposal == "with_replacement":
        found = within**k
    elif k >= len(q):  # all of them are proposed
        found = torch.zeros_like(within)
    elif k == 2:
        odds = (q / without_each(q))[:most]
        # The pairs that a token makes with those before it, drawn in either order: sums of positive numbers only.
        pairs = q[:most] * _with_zero(odds.cumsum(0))[:-1] + odds * within[:-1]
        found = _with_zero(pairs.cumsum(0))
    else:
        found = _race(q, k, most)
    if most == len(q):
        found[-1] = 1.0
    return found.clamp_(0.0, 1.0)


def optimum(p: torch.Tensor, q: torch.Tensor, k: int, proposal: Proposal) -> float:
    """The optimum of k siblings sampled from q [V] against p [V], both of which sum to 1.

    The minimising set is a prefix of the tokens sorted by falling q / p.
    """
    support = q.nonzero()[:, 0]
    p, q = p[support].double(), q[support].double()
    q = q / q.sum()
    # A token that is proposed with less than its p makes no set smaller, nor does any after it: the others alone are
    # sorted.
    seldom, _ = seldom_enough(p, q, k)
    first, last = (~seldom).nonzero()[:, 0], seldom.nonzero()[:, 0]
    first = first[(p[first] / q[first]).argsort(stable=True)]
    within = proposed_within(torch.cat([q[first], q[last]]), k, proposal, len(first))
    least = (_with_zero(p[first].cumsum(0)) - within).min()
    return min(1.0, max(0.0, 1.0 + float(least)))


def seldom_enough(p: torch.Tensor, q: torch.Tensor, k: int) -> tuple[torch.Tensor, float]:
    """(which tokens [m] are certainly proposed with no more than their p, 1 - the k - 1 largest q)."""
    # A draw that is not the first takes a token with at most q / (1 - the k - 1 largest q).
    rest = 1 - float(q.topk(min(k - 1, len(q))).values.sum())
    return k * q <= rest * p, rest


def optimum_of_nodes(tree: TokenTree, target: torch.Tensor) -> list[float | None]:
    """[n], the optimum at every node, None without children.

    Args:
        target: [n, V], processed rows.
    """
    if target.device.type == "mps":  # has no float64
        target = target.cpu()
    found: list[float | None] = [None] * len(tree)
    for node in tree.shape.inner:
        end_if_asked()
        children = tree.shape.children[node]
        if tree.q_is_point_mass:
            tokens = upload(list({tree.tokens[child] for child in children}), target.device, torch.long)
            found[node] = min(1.0, float(target[node][tokens].double().sum()))
        else:
            p = target[node].double()
            q = tree.rows[tree.row_of[node]].to(target.device)
            found[node] = optimum(p / p.sum(), q, len(children), tree.proposal)
    return found


def expected_acceptance(verifier: Verifier, tree: TokenTree, judgement: Judgement) -> list[float | None] | None:
    """[n], with which probability a rule accepts one of a node's children, given the siblings that were drawn.

    None without children; None in all for a rule that does not decide node by node, which has no such number.

    Args:
        judgement: on the host.
    """
    if not verifier.decides_by_node:
        return None
    thresholds, p = judgement.thresholds.tolist(), judgement.p.tolist()
    expected = [] if judgement.expected is None else judgement.expected.tolist()

    def at(children: Sequence[int]) -> float:
        if verifier.comparison == "uniform < threshold":
            return 1 - math.prod(1 - min(1.0, max(0.0, thresholds[child])) for child in children)
        if verifier.comparison == "token = drawn":  # one draw, which siblings of the same token share
            return min(1.0, sum({tree.tokens[child]: p[child] for child in children}.values()))
        if verifier.comparison == "p > threshold":
            return float(any(p[child] > thresholds[child] for child in children))
        return float(any(tree.tokens[child] == expected[child] for child in children))

    return [at(children) if children else None for children in tree.shape.children]


def _with_zero(sums: torch.Tensor) -> torch.Tensor:
    return torch.cat([sums.new_zeros(1), sums])


def without_each(q: torch.Tensor) -> torch.Tensor:
    """1 - q [m], of the largest as the sum of the others: a token of nearly all mass leaves what the others have."""
    rest, largest = 1 - q, int(q.argmax())
    rest[largest] = q[:largest].sum() + q[largest + 1 :].sum()
    return rest.clamp(min=torch.finfo(q.dtype).tiny)


def _race(q: torch.Tensor, k: int, most: int) -> torch.Tensor:
    """Q of the prefixes of 0, 1, ..., ``most`` tokens, for k > 2 tokens drawn without replacement.

    Drawn in turn, tokens come in the order of independent exponential arrival times of rates q. So Q(H) is the
    probability that k tokens of H arrive before the first one of the others, whose rate is r = 1 - q(H):
    ``integral of r exp(-r t) P(at least k of H by t) dt``. P comes from the elementary symmetric sums of the odds of
    having arrived, which prefixes share.
    """
    outside = _with_zero(q.flip(0).cumsum(0)).flip(0)[: most + 1]
    found = torch.zeros_like(outside)
    if not most:
        return found
    # Before the first of these times P is below t^k, and after the last one exp(-r t) has ended every prefix.
    last = float(outside[outside > 0][-1])
    logs = torch.arange(math.log(_NEGLIGIBLE) / k, math.log(45 / last), STEP, dtype=q.dtype, device=q.device)
    times = logs.exp()[:, None]
    for t in times.split(max(1, _ENTRIES_AT_ONCE // most)):
        density = outside[1:] * t * torch.exp(-outside[1:] * t) * STEP
        found[1:] += (density * _at_least(q[:most], t, k)).sum(0)
    return found


def _at_least(q: torch.Tensor, t: torch.Tensor, k: int) -> torch.Tensor:
    """[points, m], with which probability at least k of the first 1, 2, ..., m tokens have arrived by t [points, 1].

    A token of a large rate has arrived for certain and is counted; sums over the odds of the others are exact then,
    where with it they would be a large number times a small one.
    """
    rates = q * t
    certain = rates > _CERTAIN
    rates = rates.masked_fill(certain, 0.0)
    none = torch.exp(-rates.cumsum(-1))
    fewer = [torch.zeros_like(none)]  # with which probability fewer than 0, 1, ..., k of the others have
    if k * _CERTAIN < _LARGEST_EXPONENT:
        odds = torch.expm1(rates)
        sums = torch.ones_like(odds)
        for j in range(k):
            sums = (odds * _earlier(sums, float(j == 1))).cumsum(-1) if j else sums
            fewer.append(fewer[-1] + sums * none)
    else:
        log_odds = rates + torch.log(-torch.expm1(-rates))
        log_sums = torch.zeros_like(rates)
        for j in range(k):
            if j:
                log_sums = torch.logcumsumexp(log_odds + _earlier(log_sums, 0.0 if j == 1 else -math.inf), -1)
            fewer.append(fewer[-1] + torch.exp(log_sums + torch.log(none)))
    wanted = (k - certain.cumsum(-1)).clamp(min=0)
    return (1 - torch.stack(fewer).gather(0, wanted[None])[0]).clamp_(min=0.0)


def _earlier(sums: torch.Tensor, first: float) -> torch.Tensor:
    """The same sums one token earlier; ``first`` is that of no token."""
    return torch.cat([torch.full_like(sums[:, :1], first), sums[:, :-1]], -1)
