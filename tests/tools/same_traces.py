"""Records a few hundred small runs, and says whether another state of the code records the same ones, bit for bit.

    python -m tests.tools.same_traces write FOLDER
    python -m tests.tools.same_traces check FOLDER

With the code of another checkout: ``PYTHONPATH=CHECKOUT python -P tests/tools/same_traces.py write FOLDER``.

The runs are all tree builders with all verifiers as drivers, temperatures and cuts, families, prefills, resumed and
forked runs, what-if questions and steps that fail; with all verifiers in each, audits and fingerprints. Equal numbers
are to be expected on one machine with the same packages only.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import math
import sys
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from specviz.engine.session import Session
from specviz.engine.whatif import from_trace, through_models
from specviz.errors import SpecvizError
from specviz.models.loading import Pair
from specviz.trace.schema import Choice, Sampling, Settings, Trace
from specviz.trace.whatif_question import Question
from tests import pairs, tiny

PROMPT = "the sea is an onion in the sea"
TREES = pairs.TREES | {
    "top-k siblings": Choice(name="k_config", options={"tree": "4,2,2", "proposal": "top_k"}),
    "best first": Choice(name="dynamic", options={"rule": "best_first", "total": 20, "top_k": 4, "depth": 5}),
}
SAMPLINGS = {
    "T=0": (Sampling(temperature=0.0), Sampling()),
    "T=1": (Sampling(), Sampling()),
    "T=0.7 top-k": (Sampling(temperature=0.7, top_k=20), Sampling(temperature=0.7, top_k=30)),
    "T=1.3 top-p": (Sampling(temperature=1.3, top_p=0.9), Sampling(top_p=0.8)),
    "all cuts": (Sampling(top_k=50, top_p=0.95, eta_cutoff=0.001), Sampling(temperature=0.0)),
}
"""Of the target and of the draft."""
NEVER_THE_SAME = frozenset({"id", "created", "specviz_version", "forked_from", "timings"})
NEW_IN_2 = {
    "engine",
    "request",
    "fused_prefill",
    "checks",
    "optimum",
    "expected_acceptance",
    "draft_rank",
    "log_sum_exp",
    "variance",
    "failures",
    "head",
    "p_outside",
    "confidence",
    "bias",
}
"""Fields that schema version 1 has not: runs that were written as it are compared without them."""
FILE = "traces.json.gz"

Case = Callable[[], Any]
"""Does something, and returns what is compared, as JSON."""


@lru_cache(maxsize=16)
def make_pair(
    device: str = "cpu", attention: str = "sdpa", family: str = "llama", *, head: bool = False, **config: Any
) -> Pair:
    """A small pair on a device; with ``head`` its draft reads the target's hidden states."""
    target = tiny.make_model(family, **config)
    draft = tiny.perturbed(target, scale=0.3)
    reads = tiny.head_for(target, draft).to(device) if head else None
    for model in (target, draft):
        model.set_attn_implementation(attention)
    return pairs.pair_of(target.to(device), draft.to(device), head=reads)


def settings(tree: str = "4,2,2", sampling: str = "T=1", **fields: Any) -> Settings:
    target, draft = SAMPLINGS[sampling]
    fields = {"max_new_tokens": 6, "audit": True, "target": target, "draft": draft} | fields
    return pairs.make_settings(TREES[tree], **fields)


def run(pair: Pair, chosen: Settings, prompt: str = PROMPT) -> Trace:
    """A run to its end; one that fails is recorded as far as it came."""
    session = Session(pair, chosen, prompt)
    try:
        for _ in session.run():
            pass
    except SpecvizError:
        assert session.failed is not None
    return session.trace


def recorded(trace: Trace) -> Any:
    """What two equal runs record alike."""
    return _without(trace.model_dump(mode="json"))


def _without(value: Any, names: Collection[str] = NEVER_THE_SAME) -> Any:
    if isinstance(value, dict):
        return {name: _without(one, names) for name, one in value.items() if name not in names}
    return [_without(one, names) for one in value] if isinstance(value, list) else value


def cases(device: str = "cpu", attention: str = "sdpa") -> dict[str, Case]:
    """Every case by its name."""
    pair = partial(make_pair, device, attention)
    found: dict[str, Case] = {}
    for tree in TREES:
        for sampling in SAMPLINGS:
            for driver in pairs.ALL_VERIFIERS:
                chosen = settings(tree, sampling, driver=driver)
                found[f"{tree}, {sampling}, {driver}"] = partial(_run, pair, chosen)
    for number, tree in enumerate(TREES):
        for family in tiny.FAMILIES[1:]:
            chosen = settings(tree, driver=pairs.ALL_VERIFIERS[number % 6], seed=number)
            found[f"{family}, {tree}"] = partial(_run, partial(pair, family), chosen)
        found[f"reading draft, {tree}"] = partial(_run, partial(pair, head=True), settings(tree))
        found[f"resumed, {tree}"] = partial(_resumed, pair, tree)
        found[f"forked, {tree}"] = partial(_forked, pair, tree)
    found["long prompt"] = partial(_run, partial(pair, max_position_embeddings=2048), settings(), PROMPT * 30)
    found["context limit"] = partial(_run, partial(pair, max_position_embeddings=24), settings(max_new_tokens=40))
    found["large vocabulary"] = partial(_run, partial(pair, vocab=3000), settings(sampling="T=1.3 top-p"))
    found["long rows"] = partial(_run, pair, settings(record_top_k=100))
    for tree in ("4,2,2", "dynamic", "prompt lookup"):
        for verifier in pairs.ALL_VERIFIERS:
            found[f"what if, {tree}, {verifier}"] = partial(_asked, pair, tree, verifier)
    for part in ("target", "draft"):
        for name, spoil in SPOILED.items():
            found[f"{name} in the {part}"] = partial(_failed, device, attention, part, spoil)
    return found


SPOILED: dict[str, Callable[[Any], None]] = {
    "NaN of a layer": lambda model: model.model.layers[1].mlp.down_proj.weight.fill_(math.nan),
    "NaN of some tokens": lambda model: model.model.embed_tokens.weight[::5].fill_(math.nan),
    "infinity": lambda model: model.lm_head.weight[7].fill_(math.inf),
}


def _run(pair: Callable[[], Pair], chosen: Settings, prompt: str = PROMPT) -> Any:
    return recorded(run(pair(), chosen, prompt))


def _resumed(make: Callable[[], Pair], tree: str) -> Any:
    pair = make()
    trace = run(pair, settings(tree))
    session = Session.resume(pair, trace, steps=1)
    return [recorded(session.trace)] + [_without(step.model_dump(mode="json")) for step in session.run(1)]


def _forked(make: Callable[[], Pair], tree: str) -> Any:
    pair = make()
    trace = run(pair, settings(tree))
    other = settings("chain" if tree != "chain" else "4,2,2", "T=0.7 top-k", driver="traversal", seed=5)
    session = Session.resume(pair, trace, steps=1, settings=other)
    list(session.run(2))
    return recorded(session.trace)


def _asked(make: Callable[[], Pair], tree: str, verifier: str) -> Any:
    """Answers of the trace and of the models."""
    pair = make()
    trace = run(pair, settings(tree))
    position = next((i for i, step in enumerate(trace.steps) if len(step.tree.nodes) > 2), 0)
    questions = [Question(Choice(name=verifier)), Question(Choice(name=verifier), bonus_uniform=0.4)]
    if verifier not in ("naive", "greedy"):
        questions.append(Question(Choice(name=verifier), coins={1: 0.3}, forced={2: True}))
    answers = []
    for question in questions:
        for ask in (lambda q: from_trace(trace, position, q), lambda q: through_models(pair, trace, position, q)):
            try:
                answer = ask(question)
            except SpecvizError as error:
                answer = str(error)
            answers.append(dataclasses.asdict(answer) if not isinstance(answer, str) else answer)
    return json.loads(json.dumps(answers, default=lambda value: value.model_dump(mode="json")))


def _failed(device: str, attention: str, part: str, spoil: Callable[[Any], None]) -> Any:
    target = tiny.make_model("llama")
    models = {"target": target, "draft": tiny.perturbed(target)}
    with torch.no_grad():
        spoil(models[part])
    for model in models.values():
        model.set_attn_implementation(attention)
    pair = pairs.pair_of(models["target"].to(device), models["draft"].to(device))
    trace = run(pair, settings(audit=False, max_new_tokens=30))
    assert trace.failed is not None
    return recorded(trace)


def difference(before: Any, now: Any, path: str = "") -> str | None:
    """Where two values differ first, with both; None if they are equal to the last bit."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [*before, *(name for name in now if name not in before)]
        parts = ((f"{path}.{name}", before.get(name), now.get(name)) for name in names)
    elif isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            return f"{path} had {len(before)} entries and has {len(now)}"
        parts = ((f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(before, now, strict=True)))
    else:
        # NaN is not equal to itself, and 1 not the same as 1.0.
        return None if json.dumps(before) == json.dumps(now) else f"{path} was {before!r:.80} and is {now!r:.80}"
    return next(filter(None, (difference(a, b, where) for where, a, b in parts)), None)


def results(every: int = 1, device: str = "cpu", attention: str = "sdpa") -> Iterator[tuple[str, Any]]:
    """(name, what was recorded) of every ``every``-th case."""
    for number, (name, case) in enumerate(cases(device, attention).items()):
        if number % every == 0:
            yield name, case()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Are the same runs recorded as by another state of the code?")
    parser.add_argument("what", choices=("write", "check"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="check only every so many-th case (1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    file = options.folder / FILE
    if options.what == "write":
        options.folder.mkdir(parents=True, exist_ok=True)
        found = dict(results())
        with gzip.open(file, "wt", encoding="utf-8", compresslevel=3) as out:
            json.dump(found, out)
        print(f"{len(found)} cases written to {file}")
        return 0
    with gzip.open(file, "rt", encoding="utf-8") as stored:
        before = json.load(stored)
    left_out: set[str] = set()
    if any(one.get("schema_version") == 1 for one in before.values() if isinstance(one, dict)):
        left_out = NEW_IN_2 | {"schema_version"}
    differing = 0
    done = 0
    for name, now in results(options.every):
        done += 1
        then = _without(before[name], left_out) if name in before else None
        told = difference(then, _without(now, left_out)) if name in before else "it is new"
        if told:
            differing += 1
            print(f"{name}: {told}")
    print(f"{done} cases, {differing} of them differ")
    return 1 if differing or not done else 0


if __name__ == "__main__":
    sys.exit(main())
