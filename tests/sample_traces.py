"""Synthetic recorded runs: any tree shape up to 1,024 nodes, hostile token texts, several verifiers, no model.

The numbers are plausible, not computed by the engine: probabilities fall with the draw rank, every verifier walks the
tree with its own luck, and the caches are what a correct compaction would leave.
``python -m tests.sample_traces out.json.gz`` writes one to look at.
"""

from __future__ import annotations

import hashlib
import random
import sys

from specviz.trace.io import save_trace
from specviz.trace.schema import (
    Bonus,
    BonusKind,
    CacheChange,
    Caches,
    Choice,
    Comparison,
    Decision,
    DraftTree,
    Lossless,
    ModelInfo,
    Models,
    Node,
    Outcome,
    Residual,
    Row,
    Settings,
    Slot,
    Step,
    Timings,
    TokenText,
    TopK,
    Trace,
    Verdict,
)

WORDS = (
    " because there they the of 's are 're have sky atmosphere various a just four infinitely appreciated usually been "
    "to , . morning blue light scatter more than red wavelength short air molecules sun day when passes through it is"
)
PLAIN = tuple(TokenText(id=i, text=t if t in ",.'s're" else f" {t}") for i, t in enumerate(WORDS.split()))
HOSTILE = tuple(
    TokenText(id=100 + i, text=text, bytes=raw)
    for i, (text, raw) in enumerate(
        [
            ("${alert(1)}", None),
            ("`", None),
            ("<img src=x onerror=alert(1)>", None),
            ("{{constructor.constructor('alert(1)')()}}", None),
            ("</script><script>alert(1)</script>", None),
            ("\u202egnp.exe", None),
            ("\ufffd", "f09f"),
            ("\ufffd", "9880"),
            ("\n\n", None),
            ("   ", None),
            ("\t", None),
            ("<b>bold</b>&amp;", None),
            ("$\\frac{1}{2}$", None),
            ("%{x}<extra></extra>", None),
            ("a_very_long_token_that_does_not_fit_on_any_card_whatever_you_do", None),
            ("\u200b\u0000\u001b[31m", None),
            ("日本語の長いトークン", None),
            ("", None),
        ]
    )
)
RULES: dict[str, tuple[str, Comparison, BonusKind, Lossless]] = {
    "rejection": ("u < p/q", "uniform < threshold", "residual", "yes"),
    "traversal": ("u < acc", "uniform < threshold", "residual", "yes"),
    "longest_path": ("u < p/q, every edge", "uniform < threshold", "target", "no"),
    "eta": ("p > min(epsilon, delta exp(-H))", "p > threshold", "truncated", "no"),
    "naive": ("token = drawn", "token = drawn", "target", "yes"),
    "greedy": ("token = argmax", "token = argmax", "argmax", "greedy decoding"),
}


def k_config(*widths: int) -> list[int]:
    """Parents of the tree that gives every node at depth i-1 ``widths[i-1]`` children; ``parents[0] = -1``."""
    parents, level = [-1], [0]
    for width in widths:
        grown = []
        for node in level:
            grown += range(len(parents), len(parents) + width)
            parents += [node] * width
        level = grown
    return parents


def random_tree(size: int, seed: int = 0, depth: int = 8) -> list[int]:
    """Parents of a random heterogeneous tree of ``size`` nodes, no deeper than ``depth``."""
    luck = random.Random(seed)
    parents, depths = [-1], [0]
    while len(parents) < size:
        parent = luck.choice([i for i in range(max(0, len(parents) - 60), len(parents)) if depths[i] < depth] or [0])
        parents.append(parent)
        depths.append(depths[parent] + 1)
    return parents


def sample_trace(
    parents: list[int] | None = None,
    steps: int = 3,
    verifiers: tuple[str, ...] = ("rejection", "eta", "longest_path"),
    tokens: tuple[TokenText, ...] = PLAIN,
    seed: int = 0,
    fault: str | None = None,
    trace_id: str = "sample",
) -> Trace:
    """A run of ``steps`` steps over the tree ``parents``.

    ``fault`` plants one visible error in every step: ``no_compaction`` (fingerprints after differ from what was kept),
    ``position`` (positions off by one) or ``mask`` (a node sees its sibling).
    """
    luck = random.Random(seed)
    parents = k_config(4, 2, 2) if parents is None else parents
    prompt = (0, 9, 21, 22)
    made: list[Step] = []
    context = len(prompt)
    root = tokens[0]
    for index in range(steps):
        step = _step(index, context, parents, verifiers, tokens, root, luck, fault)
        made.append(step)
        context += len(step.committed)
        root = step.text_of()[step.committed[-1]]
    model = ModelInfo(
        id="sample",
        source="hub",
        architecture="Sample",
        parameters=1000,
        layers=2,
        vocabulary=200,
        dtype="float32",
        device="cpu",
    )
    return Trace(
        id=trace_id,
        created="2026-01-01T00:00:00Z",
        specviz_version="0",
        models=Models(target=model, draft=model),
        settings=Settings(verifiers=tuple(Choice(name=name) for name in verifiers), driver=verifiers[0]),
        prompt="Why is the sky blue? <img src=x onerror=alert(1)> ${alert(1)}",
        prompt_tokens=prompt,
        prompt_texts=tuple(PLAIN[i] for i in prompt),
        steps=tuple(made),
        end_reason="max_new_tokens",
    )


def _row(tokens: tuple[TokenText, ...], luck: random.Random) -> Row:
    chosen = luck.sample(tokens, min(10, len(tokens)))
    weights = sorted((luck.random() ** 4 for _ in chosen), reverse=True)
    total = sum(weights) * 1.1
    top = TopK(ids=tuple(t.id for t in chosen), probs=tuple(w / total for w in weights))
    return Row(entropy=luck.uniform(0.2, 4.0), raw=top, processed=top)


def _step(
    index: int,
    context: int,
    parents: list[int],
    verifiers: tuple[str, ...],
    tokens: tuple[TokenText, ...],
    root: TokenText,
    luck: random.Random,
    fault: str | None,
) -> Step:
    inner = set(parents)
    nodes: list[Node] = []
    ranks: dict[int, int] = {}
    for i, parent in enumerate(parents):
        token = luck.choice(tokens) if i else root
        rank = ranks.get(parent, 0)
        ranks[parent] = rank + 1
        nodes.append(
            Node(
                id=i,
                parent=parent,
                depth=nodes[parent].depth + 1 if i else 0,
                rank=rank,
                token=token.id,
                text=token.text,
                draft_prob=luck.random() ** 2 / (rank + 1) if i else None,
                target_prob=luck.random() ** 3 if i else None,
                draft=_row(tokens, luck) if i in inner else None,
                target=_row(tokens, luck),
            )
        )
    tree = DraftTree(builder="sample", proposal="without_replacement", nodes=tuple(nodes))
    verdicts = {name: _verdict(name, tree, tokens, luck) for name in verifiers}
    driver = verdicts[verifiers[0]]
    committed = (*(nodes[n].token for n in driver.path), driver.bonus.token)
    kept = [0, *driver.path]
    return Step(
        index=index,
        context=context,
        tree=tree,
        verdicts=verdicts,
        driver=verifiers[0],
        committed=committed,
        caches=Caches(
            target=_change(tree, list(range(len(nodes))), kept, context - 1, fault),
            draft=_change(tree, sorted(inner - {-1}), kept, context - 1, None),
        ),
        tokens=tuple({t.id: t for t in (*tokens, root)}.values()),
        timings=Timings(draft=0.02, target=0.08, build=0.001, verify=0.004, commit=0.001, record=0.003),
    )


def _verdict(name: str, tree: DraftTree, tokens: tuple[TokenText, ...], luck: random.Random) -> Verdict:
    rule, comparison, source, lossless = RULES.get(name, RULES["rejection"])
    children, decisions, path, node = tree.children(), [], [], 0
    while children[node]:
        passed = []
        for child in children[node]:
            p, q = tree.nodes[child].target_prob or 0.0, tree.nodes[child].draft_prob or 1.0
            u = luck.uniform(0.05, 0.95)
            ok = u < 0.45 and not (passed and source == "residual")
            outcome: Outcome = "rejected" if not ok else "passed, not chosen" if passed else "accepted"
            passed += [child] if ok else []
            decisions.append(
                Decision(
                    node=child,
                    rule=rule,
                    comparison=comparison,
                    threshold=u + 0.05 if ok else u - 0.05,
                    p=p,
                    q=q,
                    uniform=u,
                    expected=tokens[0].id if comparison.startswith("token") else None,
                    outcome=outcome,
                    reason=f"{'passes' if ok else 'fails'} {rule} at node {child}",
                    residual=None if ok else Residual(mass=0.4, top=tree.nodes[child].target.processed),
                )
            )
            if ok and source == "residual":
                break
        if not passed:
            break
        node = passed[0]
        path.append(node)
    drawn = luck.choice(tokens)
    fresh = source == "residual" and not children[node]
    return Verdict(
        verifier=name,
        options={},
        lossless=lossless,
        thresholds=tuple(1.0 if n.id == 0 else round(luck.random(), 6) for n in tree.nodes),
        decisions=tuple(decisions),
        path=tuple(path),
        bonus=Bonus(
            token=drawn.id,
            text=drawn.text,
            node=node,
            source="target" if fresh else source,
            uniform=0.5,
            distribution=tree.nodes[node].target.processed,
        ),
    )


def _change(tree: DraftTree, ran: list[int], kept: list[int], length: int, fault: str | None) -> CacheChange:
    """The change of a cache whose slots from ``length`` on hold the nodes ``ran``, of which those in ``kept`` stay."""
    slot_of = {node: length + i for i, node in enumerate(ran)}
    appended = []
    for node in ran:
        sees = [slot_of[a] for a in [0, *tree.path(node)] if a in slot_of]
        if fault == "mask" and tree.nodes[node].rank == 1:
            sees.append(slot_of[node] - 1)
        appended.append(
            Slot(
                slot=slot_of[node],
                token=tree.nodes[node].token,
                position=length + tree.nodes[node].depth + (1 if fault == "position" and node else 0),
                role="node",
                node=node,
                sees=tuple(sorted(sees)),
                sees_before=length,
            )
        )
    prints = [hashlib.sha256(f"{length} {tree.path(node)}".encode()).hexdigest()[:12] for node in ran]
    stay = [node for node in kept if node in slot_of]
    after = [prints[ran.index(node)] for node in stay]
    if fault == "no_compaction":
        after = prints[: len(stay)]
    return CacheChange(
        length_before=length,
        appended=tuple(appended),
        moves=tuple((slot_of[n], length + i) for i, n in enumerate(stay) if slot_of[n] != length + i),
        dropped=tuple(slot_of[n] for n in ran if n not in kept),
        length_after=length + len(stay),
        fingerprints_before=tuple(prints),
        fingerprints_after=tuple(after),
    )


if __name__ == "__main__":
    save_trace(sample_trace(steps=6), sys.argv[1])
