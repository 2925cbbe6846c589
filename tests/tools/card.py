"""What a step asks of a CUDA card: its waits, uploads and launches by phase and by line, on the pretended one.

    python -m tests.tools.card
    python -m tests.tools.card --nodes 1023 --lines 40
    python -m tests.tools.card --builder best_first --nodes 256 --json
    python -m tests.tools.card --spread

A line with many waits is a line on which the host stands still that often. Launches are operations of torch; some, like
topk, are several kernels on a card. With ``--spread`` the default pair runs, audited, with its target on two cards.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any
from unittest import mock

import torch

from specviz.engine.session import Session
from specviz.models import loading
from specviz.models.devices import is_spread
from specviz.trace.schema import Choice
from tests import pairs
from tests.card import build, pretended
from tests.card.budgets import dynamic, k_config
from tests.card.counting import PHASES, Counts
from tests.card.measure import Measured, card_pair, measure_step, settings_for

SHAPES = {28: "4,2,2", 255: "3,4,4,4", 1023: "3,4,4,4,4"}
BUILDERS = ("k_config", "eagle2", "best_first", "prompt_lookup", "sequoia")
COLUMNS = ("waits", "uploads", "launches", "launches in forwards")


def tree_of(builder: str, nodes: int) -> Choice:
    """A tree of a builder with so many nodes; of k_config one of :data:`SHAPES`."""
    if builder == "k_config":
        return k_config(SHAPES[nodes])
    if builder == "prompt_lookup":
        return Choice(name=builder, options={"ngram": 1, "depth": nodes})
    if builder == "sequoia":
        return Choice(name=builder, options={"total": nodes, "depth": 8})
    return dynamic(builder, nodes)


def by_phase(counts: Counts) -> dict[str, tuple[int, ...]]:
    """Phase -> numbers of :data:`COLUMNS`; phases in which nothing happens are left out."""
    found = {}
    for phase in (*PHASES.values(), "other"):
        numbers = [counts.total(kind, phase=phase) for kind in pretended.KINDS]
        row = (numbers[2], numbers[1], numbers[0], counts.total("launch", phase=phase, forward=True))
        if any(row):
            found[phase] = row
    return found


def as_json(measured: Measured) -> dict[str, Any]:
    counts = measured.counts
    phases = by_phase(counts)
    return {
        "nodes": measured.nodes,
        "draft forwards": measured.forwards,
        "total": dict(zip(COLUMNS, map(sum, zip(*phases.values(), strict=True)), strict=True)),
        "phases": {phase: dict(zip(COLUMNS, row, strict=True)) for phase, row in phases.items()},
        "lines": {kind: counts.by_line(kind) for kind in pretended.KINDS},
    }


def table(measured: Measured, lines: int) -> str:
    """For people."""
    found = as_json(measured)
    out = [f"{measured.nodes} nodes, {measured.forwards} draft forwards", "", "phase     " + "  ".join(COLUMNS)]
    for phase, row in [*found["phases"].items(), ("total", found["total"])]:
        out.append(f"{phase:8}  " + "  ".join(f"{row[name]:{len(name)}}" for name in COLUMNS))
    for kind in ("wait", "upload", "launch"):
        shown = found["lines"][kind][:lines]
        out += ["", f"{kind}s outside of the forwards by line" + (f", the first {lines}" if shown else ": none")]
        out += [f"{count:6}  {phase:8}  {line}  ({operation})" for count, phase, line, operation in shown]
    return "\n".join(out)


def run_spread() -> str:
    """The default pair, its target on two cards, audited."""
    layers = 30
    places = dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "lm_head"), "cuda:0") | {"model.norm": "cuda:1"}
    places |= {f"model.layers.{layer}": f"cuda:{int(layer >= layers // 2)}" for layer in range(layers)}
    plain = loading.device_map
    with mock.patch.object(loading, "device_map", lambda *given: {"device_map": places} if given[2] else plain(*given)):
        pair = loading.load_pair(device="cuda", dtype="float32")
    assert is_spread(pair.target.model)
    session = Session(pair, pairs.make_settings(max_new_tokens=16, audit=True), "The sea is")
    steps = list(session.run())
    worst = max(cache.audit.worst() for step in steps for cache in (step.caches.target, step.caches.draft))
    text = "".join(pair.token_text(token).text for step in steps for token in step.committed)
    return f"{len(steps)} steps of the default pair, its target on two cards, worst audit {worst:.1e}: {text!r}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What a step asks of a CUDA card, counted on a pretended one.")
    parser.add_argument("--builder", choices=BUILDERS, default="k_config")
    parser.add_argument("--nodes", type=int, help="of the tree (28); of k_config 28, 255 or 1023")
    parser.add_argument("--verifiers", default=",".join(pairs.ALL_VERIFIERS), help="the first is the driver (all six)")
    parser.add_argument("--audit", action="store_true", help="with an audit of both caches")
    parser.add_argument("--lines", type=int, default=25, help="lines of each kind (25)")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.add_argument("--spread", action="store_true", help="run the default pair with its target on two cards")
    options = parser.parse_args(arguments)
    nodes = options.nodes or 28
    if options.builder == "k_config" and nodes not in SHAPES:
        parser.error(f"choose one of {', '.join(map(str, SHAPES))} nodes")
    verifiers = tuple(options.verifiers.split(","))
    if unknown := [name for name in verifiers if name not in pairs.ALL_VERIFIERS]:
        parser.error(f"there is no verifier {unknown[0]}; choose of {', '.join(pairs.ALL_VERIFIERS)}")
    torch.set_num_threads(1)
    try:
        pretended.install()
    except build.Unavailable as reason:
        sys.exit(f"No pretended card: {reason}.")
    if options.spread:
        print(run_spread())
        return 0
    settings = settings_for(tree_of(options.builder, nodes), verifiers, options.audit)
    measured = measure_step(card_pair(), settings)
    print(json.dumps(as_json(measured), indent=1) if options.json else table(measured, options.lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
