"""The optimum at many random nodes, beside every rule's acceptance there and a linear programme over all couplings.

    python -m tests.tools.optimum [--nodes 1000] [--programmes 60]

Every node has 3 to 5 tokens and 1 to 3 siblings, proposed in the three ways in turn; all draws are summed over.
The linear programmes have up to 6 tokens and are solved in fractions.
Exits with 1 if a lossless rule that decides node by node passes the optimum anywhere, or if an equality fails.
"""

from __future__ import annotations

import argparse
import sys

import torch

from specviz.trace.schema import Proposal
from specviz.verifiers import ALL_PROPOSALS, VERIFIERS, Verifier, default_options
from specviz.verifiers.coupling import choose
from specviz.verifiers.optimum import optimum, optimum_of_nodes
from tests import optima

AGREE = 1e-9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--programmes", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    return int(not (rules(options.nodes) & programmes(options.programmes)))


def rules(nodes: int) -> bool:
    """Every lossless rule that decides node by node, against the optimum."""
    ours = {
        proposal: [one for one in VERIFIERS.values() if one.decides_by_node and _lossless(one, proposal)]
        for proposal in ALL_PROPOSALS
    }
    over, gap, count = {}, {}, 0
    for seed in range(nodes):
        proposal, k = ALL_PROPOSALS[seed % 3], 1 + seed // 3 % 3
        p, q = optima.node(3 + seed // 9 % 3, seed)
        tree, target, weights = optima.families(p, q, k, proposal)
        best = optimum_of_nodes(tree, target)[1]
        assert best is not None
        count += len(weights)
        for verifier in ours[proposal]:
            above = optima.mean_acceptance(verifier, tree, target, weights) - best
            over[verifier.name] = max(over.get(verifier.name, -1.0), above)
            if verifier.name == "coupling" or proposal == "top_k" or (k == 1 and verifier.name == "rejection"):
                gap[verifier.name] = max(gap.get(verifier.name, 0.0), abs(above))
    print(f"{nodes} nodes, {count} draws of siblings")
    for name, above in over.items():
        said = f", equal where it must be within {gap[name]:.1e}" if name in gap else ""
        print(f"  {name}: at most {above:+.1e} above the optimum{said}")
    return max(over.values()) <= AGREE and max(gap.values()) <= AGREE


def programmes(count: int) -> bool:
    """The optimum and the coupling's acceptance, against a linear programme."""
    worst = 0.0
    for seed in range(count):
        proposal, k = ALL_PROPOSALS[seed % 3], 1 + seed // 3 % 3
        p, q = optima.node(3 + seed // 9 % 4, 10_000 + seed)
        found = optima.over_all_couplings(p, q, k, proposal)
        worst = max(worst, abs(found - _optimum(p, q, k, proposal)))
        if proposal != "top_k":
            choice = choose(p, q, k, proposal, 64)
            worst = max(worst, abs(found - float(torch.minimum(choice.law, p).sum())))
    print(f"linear programmes: {count}, off by at most {worst:.1e}")
    return worst <= AGREE


def _optimum(p: torch.Tensor, q: torch.Tensor, k: int, proposal: Proposal) -> float:
    if proposal == "top_k":
        return float(p[list(optima.sequences(q, k, proposal)[0][0])].sum())
    return optimum(p, q, k, proposal)


def _lossless(verifier: Verifier, proposal: Proposal) -> bool:
    return verifier.promise(proposal, default_options(verifier)) == "yes"


if __name__ == "__main__":
    sys.exit(main())
