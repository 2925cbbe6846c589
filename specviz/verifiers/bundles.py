"""The tokens of a node in parts, for :mod:`specviz.verifiers.coupling`: what a priority order of parts gives, exactly.

A race over a whole vocabulary costs too much to be run for every order, and is not needed: a rule may rank *parts* of
the vocabulary and leave open which sibling of a part is the candidate, as long as the law of that is known.

- Part 0 holds the tokens that are never proposed more often than the target wants them, see
  :func:`specviz.verifiers.optimum.seldom_enough`. It comes first in every order, and its first sibling in draw order
  is the candidate: the first to arrive there in a race is token x with probability q(x) / q(part 0), whenever it does.
- A token of large q is a part of its own.
- The others are bundled by their p / q, and the siblings in a bundle have equal shares. The odds that a token has come
  by a time t, ``exp(q t) - 1``, are smooth in q, and so is all that follows from them where q is small. So a few values
  of q stand for all of them: sums over the tokens of a bundle become sums over these, and a token's law is interpolated
  between them, both up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from specviz.trace.schema import Proposal
from specviz.verifiers.optimum import STEP, seldom_enough, without_each

SINGLE = 64
"""So many tokens of those that may be proposed too often are parts of their own, the most likely ones."""
BUNDLES = 64
"""Most bundles of the others, of about equal q."""
_LARGE = 8.0
"""Tokens are bundled whose q is at most ``rest / (_LARGE k)``: a race of k siblings ends at a rate of ``rest`` or more,
and up to its end the k-th power of their odds stays a polynomial of low degree in q."""
_VALUES = 12
"""Values of q that stand for the tokens of a bundle; 20 change no law by more than 3e-15."""
_NEGLIGIBLE = 1e-17


@dataclass(frozen=True)
class Race:
    """What the parts do in the race of draws without replacement, see :func:`specviz.verifiers.optimum._race`.

    Attributes:
        times: [points], of a trapezoidal rule over their logarithm.
        arrived: [2, k, m, points]. First with which probability exactly 0, ..., k - 1 of the part have arrived by then;
            then the rate at which another arrives and makes them 1, ..., k.
        values: [values], of q, that stand for the bundled tokens; none where nothing is bundled.
        basis: [bundled tokens, values], the polynomials of Lagrange at the tokens' own q.
    """

    times: torch.Tensor
    arrived: torch.Tensor
    values: torch.Tensor
    basis: torch.Tensor

    def together(self, order: torch.Tensor) -> torch.Tensor:
        """[2, k, m, points], :attr:`arrived` of the first 1, ..., m parts of an order, each of these taken together."""
        found, reach = self.arrived[:, :, order], 1
        while reach < len(order):  # each place has the ``reach`` parts up to it
            found = torch.cat([found[:, :, :reach], _of_both(found[:, :, reach:], found[:, :, :-reach])], 2)
            reach *= 2
        return found

    def integral(self, rates: torch.Tensor) -> torch.Tensor:
        """Over all times, of [..., points]."""
        return (rates * self.times).sum(-1) * STEP


@dataclass(frozen=True)
class Pairs:
    """What two draws without replacement need: x and y come, in either order, with ``odds(x) q(y) + q(x) odds(y)``,
    where odds are q / (1 - q).

    Attributes:
        odds, twice: [m], sums over the tokens of a part of odds and of q times odds.
        own: [bundled tokens], their odds.
    """

    odds: torch.Tensor
    twice: torch.Tensor
    own: torch.Tensor


@dataclass(frozen=True)
class Parts:
    """The parts of a node's tokens. An *order* below is one of the m parts behind part 0, the last of them first.

    Attributes:
        part: [V], of each token, from 0; -1 for tokens that cannot be proposed.
        q: [V] float64, sums to 1.
        of_p, of_q: [m], of the parts behind part 0.
        single: how many of the parts are single tokens; they come before the bundles.
        bundled: [bundled tokens].
        pairs: for two siblings drawn without replacement.
        race: for more; None of both where all draws are alike or all tokens are drawn.
    """

    part: torch.Tensor
    q: torch.Tensor
    k: int
    proposal: Proposal
    of_p: torch.Tensor
    of_q: torch.Tensor
    single: int
    bundled: torch.Tensor
    pairs: Pairs | None
    race: Race | None

    def vertex(self, order: torch.Tensor) -> torch.Tensor:
        """[m], with which probability the candidate lies in each part if they come in this order alone."""
        within = self._within(order)
        if not bool((self.part == 0).any()):
            within[-1:] = 1.0
        return torch.zeros_like(within).scatter_(0, order, within.diff(prepend=within.new_zeros(1)))

    def law(self, orders: Sequence[torch.Tensor], shares: torch.Tensor) -> torch.Tensor:
        """[V], of the candidate under a mixture of orders."""
        of_part = shares @ torch.stack([self.vertex(order) for order in orders])
        ahead = self.part == 0
        law = torch.where(ahead, self.q * ((1 - of_part.sum()) / self.q[ahead].sum()), 0.0)
        behind = (self.part > 0).nonzero()[:, 0]
        part = self.part[behind] - 1
        law[behind] = self.q[behind] * (of_part / self.of_q)[part]  # of bundles with replacement only
        if self.pairs is not None:
            law[self.bundled] = self._of_pairs(self.pairs, orders, shares)
        if self.race is not None and len(self.bundled):
            per_q = self._per_q(self.race, orders, shares)[self.part[self.bundled] - 1 - self.single]
            law[self.bundled] = self.q[self.bundled] * (self.race.basis * per_q).sum(-1)
        return law

    def _within(self, order: torch.Tensor) -> torch.Tensor:
        """[m], with which probability all siblings lie in the first 1, ..., m parts of an order."""
        if self.proposal == "with_replacement":
            return self.of_q[order].cumsum(0) ** self.k
        if self.pairs is not None:
            of_q, odds, twice = (one[order].cumsum(0) for one in (self.of_q, self.pairs.odds, self.pairs.twice))
            return of_q * odds - twice
        if self.race is None:  # all tokens are proposed
            return torch.zeros_like(self.of_q)
        return self.race.integral(self.race.together(order)[1, -1] * self._nobody_outside(self.race, order))

    def _of_pairs(self, pairs: Pairs, orders: Sequence[torch.Tensor], shares: torch.Tensor) -> torch.Tensor:
        """[bundled tokens], their law: beside a token of a later part, and beside one of their own half the time."""
        of_parts = torch.stack([self.of_q, pairs.odds])
        beside = of_parts / 2
        for order, share in zip(orders, shares, strict=True):
            beside[:, order] += share * (of_parts[:, order].cumsum(1) - of_parts[:, order])
        q, odds = beside[:, self.part[self.bundled] - 1]
        own_q = self.q[self.bundled]
        return pairs.own * (q - own_q / 2) + own_q * (odds - pairs.own / 2)

    def _nobody_outside(self, race: Race, order: torch.Tensor) -> torch.Tensor:
        """[m, points], with which probability none has arrived but of the first 1, ..., m parts of an order."""
        behind = self.of_q[order].flip(0).cumsum(0).flip(0)
        outside = self.q[self.part == 0].sum() + torch.cat([behind[1:], behind.new_zeros(min(1, len(behind)))])
        return torch.exp(-outside[:, None] * race.times)

    def _per_q(self, race: Race, orders: Sequence[torch.Tensor], shares: torch.Tensor) -> torch.Tensor:
        """[bundles, values], the law of a token of a bundle over its q, if its q were one of the values.

        It is the candidate if it is a sibling, no other lies in a part that comes sooner, and of those in its bundle it
        is chosen. The last sibling to arrive is itself, or another one of its bundle, or of a part that comes later.
        """
        k, own = self.k, race.arrived[:, :, self.single :, None]
        later = torch.zeros_like(own[:, :, :, 0])  # of the parts before it, in the mean over the orders
        for order, share in zip(orders, shares, strict=True):
            empty = torch.zeros_like(later[:, :, :1])
            empty[0, 0] = 1.0
            before = torch.cat([empty, race.together(order)[:, :, :-1]], 2) * self._nobody_outside(race, order)
            is_bundle = order >= self.single
            later[:, :, order[is_bundle] - self.single] += share * before[:, :, is_bundle]
        rate = race.values[:, None]
        odds, gone = torch.expm1(rate * race.times), -torch.expm1(-rate * race.times)
        nothing = torch.zeros_like(odds)
        others, arriving = [nothing], [nothing]  # Race.arrived of the bundle without the token: of -1, of 0
        for i in range(k):
            others.append(own[0, i] * (1 + odds) - odds * others[-1])
            arriving.append(own[1, i] * (1 + odds) - odds * arriving[-1] - rate * others[-1])
        total = torch.zeros_like(own[0, 0] * odds)
        for i in range(k):
            rest = later[0, k - 1 - i, :, None]
            total += (rate * (1 - gone) * others[i + 1] + gone * arriving[i]) * rest / (i + 1)
            if i < k - 1:
                total += gone * others[i + 1] * later[1, k - 2 - i, :, None] / (i + 1)
        return race.integral(total) / race.values


def parts_of(p: torch.Tensor, q: torch.Tensor, k: int, proposal: Proposal) -> Parts:
    """The parts for k siblings that are sampled from q [V], against p [V]; both in float64."""
    q = q / q.sum()
    parts = torch.where(q > 0, 0, -1)
    seldom, rest = seldom_enough(p, q, k)
    behind = ((q > 0) & ~seldom).nonzero()[:, 0]
    alone = q[behind] > rest / (_LARGE * k)
    alone[q[behind].topk(min(SINGLE, len(behind))).indices] = True
    single, bundled = behind[alone], behind[~alone]
    bundled = bundled[(p[bundled] / q[bundled]).argsort(stable=True)]
    parts[single] = torch.arange(1, len(single) + 1)
    bundle = bundled.new_zeros(0)
    if len(bundled):
        shares = q[bundled].cumsum(0) / q[bundled].sum()
        bundle = (shares * BUNDLES).ceil().unique(return_inverse=True)[1]
        parts[bundled] = len(single) + 1 + bundle
    m = int(parts.max())

    def of_part(one: torch.Tensor) -> torch.Tensor:
        return one.new_zeros(m + 1).index_add_(0, parts[q > 0], one[q > 0])[1:]

    pairs, race = None, None
    if proposal != "with_replacement" and k < int((q > 0).sum()):
        if k == 2:
            odds = q / without_each(q)
            pairs = Pairs(of_part(odds), of_part(q * odds), odds[bundled])
        else:
            race = _race(q[single], q[bundled], bundle, k, rest)
    return Parts(parts, q, k, proposal, of_part(p), of_part(q), len(single), bundled, pairs, race)


def _race(single: torch.Tensor, bundled: torch.Tensor, bundle: torch.Tensor, k: int, rest: float) -> Race:
    """The race of tokens of these q, the second ones in their bundles."""
    # Before the first of these times there are not k siblings, and after the last one there are.
    logs = torch.arange(math.log(_NEGLIGIBLE) / k, math.log(45 / max(rest, 1e-30)), STEP, dtype=single.dtype)
    times = logs.exp()
    rates = single[:, None]
    alone = rates.new_zeros(2, k, len(single), len(times))
    alone[0, 0] = torch.exp(-rates * times)
    if k > 1:
        alone[0, 1] = -torch.expm1(-rates * times)
    alone[1, 0] = rates * alone[0, 0]
    if not len(bundled):
        return Race(times, alone, single.new_zeros(0), single.new_zeros(0, 0))
    values, basis = _interpolation(bundled)
    weights = single.new_zeros(int(bundle.max()) + 1, _VALUES).index_add_(0, bundle, basis * bundled[:, None])
    odds = torch.expm1(values[:, None] * times)
    # Newton's identities: sums over sets of tokens from sums of the tokens' powers.
    powers = [weights @ odds**j for j in range(k)]
    sums = [(weights / values) @ odds ** (j + 1) for j in range(k)]
    exactly = [torch.exp(-weights.sum(-1, keepdim=True) * times)]
    for n in range(1, k):
        exactly.append(sum((-1) ** j * sums[j] * exactly[n - 1 - j] for j in range(n)) / n)
    rate = [sum((-1) ** j * powers[j] * exactly[n - j] for j in range(n + 1)) for n in range(k)]
    together = torch.stack([torch.stack(exactly), torch.stack(rate)])
    return Race(times, torch.cat([alone, together], 2), values, basis)


def _interpolation(q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Chebyshev's points between 0 and the largest q [values], and the polynomials of Lagrange at q [m, values]."""
    degrees = torch.arange(_VALUES, dtype=q.dtype)
    angles = (degrees + 0.5) * math.pi / _VALUES
    weights = torch.cos(degrees[:, None] * angles) * (2 / _VALUES)
    weights[0] /= 2
    at = torch.arccos((2 * q / q.max() - 1).clamp(-1, 1))
    return q.max() * (1 + torch.cos(angles)) / 2, torch.cos(at[:, None] * degrees) @ weights


def _of_both(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """:attr:`Race.arrived` of two sets of tokens together: how many have arrived adds up, and one of either arrives."""
    found, k = torch.zeros_like(a), a.shape[1]
    for i in range(k):
        found[0, i:] += a[0, i] * b[0, : k - i]
        found[1, i:] += a[0, i] * b[1, : k - i] + a[1, i] * b[0, : k - i]
    return found
