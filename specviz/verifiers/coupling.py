"""A coupling by the minimising set: at one node it accepts as often as any lossless rule can. Lossless.

Hu et al. 2025 (arXiv 2502.18779) give the largest acceptance at a node as a minimum over sets of tokens, see
:mod:`specviz.verifiers.optimum`. This rule takes one of the drawn siblings as its candidate, which has a law a that is
known exactly, accepts it with min(1, p / a), and draws from max(p - a, 0) otherwise: one round of rejection sampling
with a in the place of q, so lossless whatever the choice of the candidate is. It accepts with sum(min(p, a)).

The choice mixes priority orders: one order is drawn, and of the siblings the one that stands first in it is the
candidate. The orders rank parts of the vocabulary, see :mod:`specviz.verifiers.bundles`: that costs a little acceptance
and no exactness. Laws of mixtures are the base polytope of the submodular f(A) = P(a sibling lies in A), and the law
nearest to p in it reaches the optimum (Fujishige: the nearest point of a base polytope gives the minimising set).
Wolfe's algorithm (1976) finds it with as many orders as it needs; the option ``orders`` ends it before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field

from specviz.interruption import end_if_asked
from specviz.options import Options
from specviz.trace.schema import Proposal
from specviz.tree import TokenTree
from specviz.verifiers.base import (
    ALL_PROPOSALS,
    End,
    Judgement,
    Verifier,
    draft_edge_probs,
    edge_probs,
)
from specviz.verifiers.bundles import parts_of
from specviz.verifiers.walks import walk_down

_SETTLED = 1e-13
"""An order that brings the law no nearer to p than this is none."""
_LEAST = 1e-12
"""Shares of orders below this are none."""


class CouplingOptions(Options):
    orders: int = Field(8, ge=1, le=16, description="Most priority orders that are mixed at a node")


@dataclass(frozen=True)
class Choice:
    """How the candidate is chosen among the siblings of one node, and its law.

    Attributes:
        law: [V], with which probability each token is the candidate.
        accept: [V], min(1, p / law).
        part: [V], of each token, see :class:`specviz.verifiers.bundles.Parts`.
        shares: [orders], of the priority orders; sum to 1.
        places: [orders][parts], place of each part in each order, the least comes first.
    """

    law: torch.Tensor
    accept: torch.Tensor
    part: torch.Tensor
    shares: list[float]
    places: list[list[int]]

    def accepted(self, siblings: list[int]) -> list[float]:
        """With which probability each of these siblings, in draw order, is the candidate and accepted."""
        parts, accept = self.part[siblings].tolist(), self.accept[siblings].tolist()
        found = [0.0] * len(siblings)
        # Another engine may say that it drew what its rows do not have.
        if not (drawn := [i for i, part in enumerate(parts) if part >= 0]):
            return found
        for places, share in zip(self.places, self.shares, strict=True):
            first = min(drawn, key=lambda i: places[parts[i]])
            chosen = [first] if parts[first] == 0 else [i for i in drawn if parts[i] == parts[first]]
            for i in chosen:
                found[i] += share * accept[i] / len(chosen)
        return found

    def row(self, p: torch.Tensor) -> torch.Tensor:
        """max(p - law, 0) [V], scaled to 1; p where it has no mass (every candidate is accepted)."""
        left = (p.double() - self.law).clamp(min=0.0)
        mass = left.sum()
        return torch.where(mass > 0, left / mass.clamp(min=torch.finfo(left.dtype).tiny), p.double()).to(p.dtype)


def choose(p: torch.Tensor, q: torch.Tensor, k: int, proposal: Proposal, orders: int) -> Choice:
    """The best mixture found of at most so many priority orders, against p [V], for k siblings sampled from q [V].

    The orders are of parts of the vocabulary; their law is known for every token.
    """
    p, q = p.double(), q.double()
    parts = parts_of(p, q, k, proposal)
    # Distances are measured with each part over the root of its q, so that a part's law over its q nears p over q.
    scale = parts.of_q.sqrt()
    wanted = parts.of_p / scale
    order = (parts.of_p / parts.of_q).argsort(stable=True)  # what the draft proposes too often comes last
    found, laws, shares = [order], (parts.vertex(order) / scale)[None], q.new_ones(1)
    best, most = (found, shares), -1.0
    for _ in range(16 * orders):
        law = shares @ laws
        # Nearer is not always better on the way, only at its end.
        if (accepted := float((torch.minimum(law, wanted) * scale).sum())) > most:
            best, most = (found, shares), accepted
        if len(found) == orders:
            break
        gap = law - wanted
        order = (gap / scale).argsort(descending=True, stable=True)
        corner = parts.vertex(order) / scale
        if float(gap @ (law - corner)) <= _SETTLED:
            break
        laws, shares = torch.cat([laws, corner[None]]), torch.cat([shares, q.new_zeros(1)])
        found, laws, shares = _nearest([*found, order], laws, shares, wanted)
    found, shares = best
    law = parts.law(found, shares)
    accept = torch.where(law > p, p / law.clamp(min=torch.finfo(law.dtype).tiny), 1.0)
    return Choice(law, accept, parts.part, shares.tolist(), [_places(order) for order in found])


def _places(last_first: torch.Tensor) -> list[int]:
    """Part 0 comes first."""
    places = torch.zeros(len(last_first) + 1, dtype=torch.long)
    places[last_first.flip(0) + 1] = torch.arange(1, len(last_first) + 1)
    return places.tolist()


def _nearest(
    found: list[torch.Tensor], laws: torch.Tensor, shares: torch.Tensor, p: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """The mixture of some of these laws [n, m] that is nearest to p among all; Wolfe's minor cycle."""
    while True:
        best = _affine(laws - p)
        if bool((best > _LEAST).all()):
            return found, laws, best / best.sum()
        # Go towards it until the first share vanishes, and leave that order out.
        falling = best <= _LEAST
        steps = shares[falling] / (shares - best)[falling].clamp(min=torch.finfo(best.dtype).tiny)
        shares = shares + min(1.0, float(steps.min())) * (best - shares)
        kept = shares > _LEAST
        if bool(kept.all()):
            kept[shares.argmin()] = False
        if not bool(kept.any()):
            kept[shares.argmax()] = True
        found = [order for order, keep in zip(found, kept.tolist(), strict=True) if keep]
        laws, shares = laws[kept], shares[kept] / shares[kept].sum()


def _affine(points: torch.Tensor) -> torch.Tensor:
    """[n], weights that sum to 1 of the point nearest to 0 in the affine hull of points [n, m]."""
    n = len(points)
    system = points.new_ones(n + 1, n + 1)
    system[:n, :n] = points @ points.T
    system[n, n] = 0.0
    right = points.new_zeros(n + 1)
    right[n] = 1.0
    return torch.linalg.lstsq(system, right[:, None], driver="gelsd").solution[:n, 0]


def judge(tree: TokenTree, target: torch.Tensor, options: CouplingOptions) -> Judgement:
    """Threshold of a child: of what its elder siblings leave, the share that it is the candidate and accepted.

    Of siblings that are not sampled but the draft's most likely tokens each is accepted with its p, which is the
    optimum.
    """
    on_host = target.cpu()  # the choice takes many small steps
    thresholds = [1.0] * len(tree)
    choices: dict[int, Choice] = {}
    for node in tree.shape.inner:
        end_if_asked()
        children = tree.shape.children[node]
        siblings = [tree.tokens[child] for child in children]
        p = on_host[node]
        if tree.q_is_point_mass:
            accepted = p[siblings].double().tolist()
        else:
            q = tree.rows[tree.row_of[node]].cpu()
            choices[node] = choose(p, q, len(children), tree.proposal, options.orders)
            accepted = choices[node].accepted(siblings)
        left = 1.0
        for child, share in zip(children, accepted, strict=True):
            thresholds[child] = min(1.0, share / left) if left > 0 else 0.0
            left -= share

    def distribution(end: End) -> torch.Tensor:
        if not end.rejected:
            return target[end.node]
        if end.node in choices:
            return choices[end.node].row(on_host[end.node]).to(target.device)
        row = target[end.node].clone()
        row[[tree.tokens[child] for child in end.rejected]] = 0.0
        return row / row.sum() if float(row.sum()) > 0 else target[end.node]

    compared = torch.tensor(thresholds, dtype=target.dtype)
    return Judgement(compared, edge_probs(tree, target), draft_edge_probs(tree, target), distribution)


COUPLING = Verifier(
    name="coupling",
    summary="one candidate among the siblings, chosen for the largest acceptance at one node",
    judge=judge,
    walk=walk_down,
    comparison="uniform < threshold",
    rule="u < P(candidate) min(1, p/a) / left",
    lossless=ALL_PROPOSALS,
    Options=CouplingOptions,
    plain=True,
    decides_by_node=True,
)
