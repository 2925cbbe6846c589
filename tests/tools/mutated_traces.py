"""Changes after which a trace is still one, so that it comes further than the parser."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, get_args

from specviz.trace import schema
from tests.tools.mutated_fields import a_path, a_step, tree_ids
from tests.tools.mutated_values import HOSTILE_TEXTS, NUMBERS, put, value_at


def _nulled(luck: random.Random, base: Any) -> Any:
    """Some values that another engine need not record are not recorded."""
    for _ in range(luck.choice([5, 20, 100])):
        path = a_path(luck, base)
        if path and path[-1] in _OPTIONAL:
            base = put(base, path, None)
    return base


_OPTIONAL = {
    name
    for kind in vars(schema).values()
    if isinstance(kind, type) and issubclass(kind, schema.Value)
    for name, field in kind.model_fields.items()
    if type(None) in get_args(field.annotation)
}
"""Names of fields that may be null."""


def _every(base: Any, key: str, change: Callable[[Any], Any]) -> Any:
    """Every value under ``key``, at any depth."""
    if isinstance(base, dict):
        return {k: change(v) if k == key else _every(v, key, change) for k, v in base.items()}
    if isinstance(base, list):
        return [_every(one, key, change) for one in base] if base and isinstance(base[0], (dict, list)) else base
    return base


def _number_fields(luck: random.Random, base: Any) -> Any:
    key = luck.choice(
        ["threshold", "p", "q", "entropy", "mass", "draft", "target", "build", "verify", "record", "logits"]
    )
    number = luck.choice([one for one in NUMBERS if one == one and abs(one) != float("inf")])
    chance = luck.choice([0.1, 1.0])
    return _every(base, key, lambda old: number if isinstance(old, float) and luck.random() < chance else old)


def _probabilities(luck: random.Random, base: Any) -> Any:
    number = luck.choice([0.0, 1.0, 5e-324, 1e-308, 1e-5, 1.000009])
    chance = luck.choice([0.3, 1.0])
    if luck.random() < 0.5:
        return _every(base, "probs", lambda old: [number if luck.random() < chance else p for p in old])
    return _every(
        base,
        luck.choice(["draft_prob", "target_prob"]),
        lambda old: luck.choice([number, None]) if luck.random() < chance else old,
    )


def _lists(luck: random.Random, base: Any) -> Any:
    """ids and probs, of any length, as long as they agree."""
    size = luck.choice([0, 1, 2, 300, 5000])

    def change(row: Any) -> Any:
        if luck.random() < 0.7 or (size > 500 and luck.random() < 0.97):
            return row
        return {"ids": [luck.choice([0, 1, 2**53 - 1]) for _ in range(size)], "probs": [0.5] * size}

    for key in luck.sample(["raw", "processed", "distribution", "top"], 2):
        base = _every(base, key, change)
    return base


def _texts(luck: random.Random, base: Any) -> Any:
    key = luck.choice(["text", "text", "rule", "reason", "id", "note", "dtype", "device", "architecture", "prompt"])
    text = luck.choice(HOSTILE_TEXTS)
    if luck.random() < 0.1:
        text = luck.choice(HOSTILE_TEXTS) * 2000
    return _every(base, key, lambda old: text if isinstance(old, str) and luck.random() < 0.6 else old)


def _bytes(luck: random.Random, base: Any) -> Any:
    raw = luck.choice(["", "00", "ff" * 8, "f0 9f", "F09F", " c3 ", "ff" * 400, "aa" * 50_000])
    return _every(base, "bytes", lambda old: raw if luck.random() < 0.2 else old)


def _slots(luck: random.Random, base: Any) -> Any:
    """Slot numbers, positions, moves and lengths that lie."""
    key = luck.choice(
        ["slot", "position", "sees_before", "first_slot", "moves", "dropped", "sees", "prefilled", "node"]
    )
    large = luck.choice([0, 1, 7, 10**6, 2**53 - 1, 10**4290])

    def change(old: Any) -> Any:
        if luck.random() < 0.5 or old is None:
            return old
        if key == "moves":
            return [[large, luck.choice([0, large])] for _ in range(luck.choice([0, 1, 50]))]
        if isinstance(old, list):
            return [large] * luck.choice([0, 1, 500])
        return large if key != "node" else luck.choice([0, 1, old])

    return _every(base, key, change)


def _lengths(luck: random.Random, base: Any) -> Any:
    """Both ends of a cache moved by the same distance."""
    shift = luck.choice([1, 1000, 10**9, 2**53 - 200, 10**4290])

    def change(cache: Any) -> Any:
        if not isinstance(cache, dict) or "length_before" not in cache or luck.random() < 0.3:
            return cache
        return cache | {name: cache[name] + shift for name in ("length_before", "length_after")}

    return _every(base, "caches", lambda old: {name: change(cache) for name, cache in old.items()})


def _verifiers(luck: random.Random, base: Any) -> Any:
    """A verdict under another name, or under very many."""
    if not base["steps"]:
        return base
    where = ("steps", a_step(luck, base), "verdicts")
    verdicts = value_at(base, where)
    one = verdicts[luck.choice(list(verdicts))]
    name = luck.choice(HOSTILE_TEXTS)
    count = luck.choice([1, 1, 1, 12, 250, 700])
    more = {f"{name}{i or ''}": one | {"verifier": f"{name}{i or ''}"} for i in range(count)}
    return put(base, where, verdicts | more)


def _decisions(luck: random.Random, base: Any) -> Any:
    """Decisions shuffled, repeated, about other nodes; other comparisons and outcomes."""
    if not base["steps"]:
        return base
    step = a_step(luck, base)
    size = len(base["steps"][step]["tree"]["nodes"])
    times = luck.choice([0, 1, 2, 30])

    def change(old: Any) -> Any:
        made = old * times
        luck.shuffle(made)
        return [
            one
            | {
                "node": luck.randrange(size) if luck.random() < 0.5 else one["node"],
                "outcome": luck.choice(["accepted", "rejected", "passed, not chosen"]),
                "comparison": luck.choice(["uniform < threshold", "p > threshold", "token = drawn", "token = argmax"]),
                "uniform": luck.choice([one["uniform"], None, 1e-300, 0.9999999999999999]),
                "expected": luck.choice([None, 0, 2**53 - 1]),
                "p": luck.choice([one["p"], None, 0.0]),
                "q": luck.choice([one["q"], None, 0.0]),
            }
            for one in made[:2000]
        ]

    return put(base, ("steps", step), _every(base["steps"][step], "decisions", change))


def _bonuses(luck: random.Random, base: Any) -> Any:
    """Bonus tokens that hang elsewhere, come from elsewhere, or were drawn otherwise."""

    def change(old: Any) -> Any:
        return old | {
            "node": luck.choice([0, old["node"]]),
            "source": luck.choice(["target", "residual", "truncated", "argmax"]),
            "uniform": luck.choice([old["uniform"], None, 0.5]),
        }

    return _every(base, "bonus", change)


def _shapes(luck: random.Random, base: Any) -> Any:
    """Another tree altogether: a long chain, a star, a comb; verdicts that accept none of it, caches that saw it."""
    if not base["steps"]:
        return base
    step = base["steps"][0]
    nodes = step["tree"]["nodes"]
    pattern = nodes[-1] | {"draft": nodes[0]["draft"]}
    size = luck.choice([1, 2, 200, 1025, 1026, 3000])
    shape = luck.choice(["chain", "star", "comb"])
    made = [nodes[0]]
    ranks: dict[int, int] = {}
    for i in range(1, size):
        parent = i - 1 if shape == "chain" else 0 if shape == "star" else max(0, i - 1 - (i % 2))
        rank = ranks.get(parent, 0)
        ranks[parent] = rank + 1
        made.append(pattern | {"id": i, "parent": parent, "depth": made[parent]["depth"] + 1, "rank": rank})
    if size > 1 and made[0]["draft"] is None:
        made[0] = made[0] | {"draft": nodes[-1]["target"]}
    made = [node | {"draft": node["draft"] or node["target"]} for node in made]
    verdicts = {
        name: verdict
        | {
            "thresholds": [1.0] * size,
            "decisions": [one | {"node": min(size - 1, one["node"])} for one in verdict["decisions"]],
            "path": [],
            "bonus": verdict["bonus"] | {"node": 0},
        }
        for name, verdict in step["verdicts"].items()
    }
    appended = [
        {"slot": i, "token": 0, "position": i, "role": "node", "node": i, "sees": [i], "sees_before": 0}
        for i in range(size)
    ]
    cache = step["caches"]["target"] | {
        "appended": appended,
        "fingerprints_before": [f"{i:x}" for i in range(size)],
        "audit": None,
    }
    token = step["verdicts"][step["driver"]]["bonus"]["token"]
    new = step | {
        "tree": step["tree"] | {"nodes": made},
        "verdicts": verdicts,
        "committed": [token],
        "caches": {"target": cache, "draft": cache},
    }
    return base | {"steps": [new]}


def _many_steps(luck: random.Random, base: Any) -> Any:
    """The first step again and again, each in its place."""
    if not base["steps"]:
        return base
    first, made, context = base["steps"][0], [], len(base["prompt_tokens"])
    for i in range(luck.choice([3, 40])):
        made.append(first | {"index": i, "context": context})
        context += len(first["committed"])
    return base | {"steps": made, "end_reason": luck.choice([None, "end of sequence", "error", "context limit"])}


def _audits(luck: random.Random, base: Any) -> Any:
    number = luck.choice([0.0, -1.0, 1e-300, 1e308, 5.0])
    layers, width = luck.choice([(0, 0), (1, 0), (1, 300), (60, 30)])
    first = luck.choice([0, 3, 2**53 - 1])
    rows = [[number] * width] * layers
    audit = {"first_slot": first, "keys": rows, "values": rows, "earlier_keys": [number] * layers}
    audit |= {"earlier_values": [number] * layers, "logits": luck.choice([None, number])}
    return _every(base, "audit", lambda old: audit if not isinstance(old, (bool, float)) else old)


def _failures(luck: random.Random, base: Any) -> Any:
    """A step that failed after the others, as far as it may have got."""
    if not base["steps"]:
        return base
    tree, texts = base["steps"][-1]["tree"], base["steps"][-1]["tokens"]
    scored = luck.random() < 0.5
    nodes = [node if scored else node | {"target": None, "target_prob": None} for node in tree["nodes"]]
    nodes = nodes[: luck.choice([1, len(nodes)])]
    some = luck.choice([[], [0], [len(nodes) - 1] * 3000])
    nonfinite = {
        "model": luck.choice(["target", "draft"]),
        "found": luck.choice(["NaN", "infinity", "-infinity for every token"]),
        "nodes": some,
        "module": luck.choice([None, *HOSTILE_TEXTS]),
        "layer": luck.choice([None, 0, 2**53 - 1]),
        "first_nodes": some,
        "first_tokens": luck.choice([[], [2**53 - 1] * 3000]),
    }
    failed = {
        "index": len(base["steps"]),
        "context": len(base["prompt_tokens"]) + sum(len(step["committed"]) for step in base["steps"]),
        "builder": luck.choice(HOSTILE_TEXTS),
        "proposal": tree["proposal"],
        "nodes": nodes,
        "tokens": texts,
        "message": luck.choice(HOSTILE_TEXTS),
        "nonfinite": luck.choice([None, nonfinite]),
    }
    return base | {"failed": failed, "end_reason": luck.choice([None, "error", "stopped"])}


def _ends(luck: random.Random, base: Any) -> Any:
    """Empty runs, prompts that repeat, forks of themselves."""
    prompt = luck.choice([base["prompt_tokens"], base["prompt_tokens"][:1], base["prompt_tokens"][:1] * 30_000])
    steps = base["steps"]
    if prompt is not base["prompt_tokens"]:
        steps, context = [], len(prompt)
        for step in base["steps"]:
            steps.append(step | {"context": context})
            context += len(step["committed"])
    return base | {
        "steps": luck.choice([steps, steps, []]),
        "prompt_tokens": prompt,
        "forked_from": luck.choice([None, {"trace": base["id"], "step": 0}, {"trace": "x" * 1000, "step": 2**40}]),
        "end_message": luck.choice([None, *HOSTILE_TEXTS]),
        "end_tokens": luck.choice([[], [0] * 1000, base["end_tokens"]]),
        "created": luck.choice(["", "yesterday", base["created"]]),
    }


def _other_settings(luck: random.Random, base: Any) -> Any:
    """The settings of a run that no engine has run: builders and verifiers of other projects, odd options."""
    settings = base["settings"]
    name = luck.choice(["k_config", "dynamic", "nobody's", *HOSTILE_TEXTS[:6]])[:150] or "x"
    options = {
        luck.choice(["tree", "total", "x", "paths"]): luck.choice([None, True, 10**40, 1e308, "9" * 5000, "[", ""])
    }
    target = {"temperature": luck.choice([0.0, 1e-300, 100.0]), "top_k": luck.choice([0, 2**53 - 1]), "top_p": 5e-324}
    verifiers = [choice | {"options": options} for choice in settings["verifiers"]]
    changed = settings | {
        "builder": {"name": name, "options": options},
        "target": settings["target"] | target,
        "verifiers": luck.choice([verifiers, settings["verifiers"]]),
        "seed": luck.choice([0, 2**63 - 1]),
        "max_new_tokens": luck.choice([1, 1_000_000]),
    }
    if base["steps"] and luck.random() < 0.5:
        return put(base, ("steps", 0, "settings"), changed)
    return base | {"settings": changed}


CONSISTENT: list[tuple[str, Callable[[random.Random, Any], Any]]] = [
    ("not recorded", _nulled),
    ("not recorded", _nulled),
    ("numbers", _number_fields),
    ("probabilities", _probabilities),
    ("distributions", _lists),
    ("texts", _texts),
    ("bytes", _bytes),
    ("slots", _slots),
    ("lengths", _lengths),
    ("verifiers", _verifiers),
    ("decisions", _decisions),
    ("bonuses", _bonuses),
    ("shape", _shapes),
    ("many steps", _many_steps),
    ("audits", _audits),
    ("failures", _failures),
    ("ends", _ends),
    ("other settings", _other_settings),
    ("tree ids", tree_ids),
]
