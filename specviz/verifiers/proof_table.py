"""What is proved about a verifier with its options: the table that is shipped, and what was checked in this process.

A verifier *promises*; :mod:`specviz.verifiers.check` *proves*, by enumeration, for one set of options at a time. A run
may say "lossless" only where both agree, and "not proved" wherever nobody has looked. The table that is shipped,
``assets/proofs.json``, holds the verifiers of this project; ``python -m specviz check --write`` makes it. An entry
counts only for the very source files it was made from, so a verifier that was edited since is not proved until it is
checked again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from specviz.assets import ASSETS
from specviz.drafting import BUILT_IN_BUILDERS, Builder
from specviz.options import Options
from specviz.trace.schema import Count, Lossless, Name, Option, Promise, Proposal, Value, options_key
from specviz.verifiers import BUILT_IN, Verifier

EXACT = 1e-12
"""Below this a total-variation distance is rounding."""
LOSSY = 1e-3
"""Above this a verifier has been shown to be lossy."""
TABLE = ASSETS / "proofs.json"
_PACKAGE = Path(__file__).resolve().parents[1]
_RESTS_ON = (
    "dice.py",
    "drafting/base.py",
    "drafting/dynamic.py",
    "drafting/sequoia.py",
    "drafting/static.py",
    "sampling.py",
    "tree.py",
    "verifiers/base.py",
    "verifiers/exact.py",
    "verifiers/optimum.py",
    "verifiers/siblings.py",
    "verifiers/walks.py",
)
"""Files that decide the law of every verifier of ours, or how it is summed."""
_AND_ON = {"verifiers/coupling.py": "verifiers/bundles.py", "verifiers/lenience.py": "verifiers/rejection.py"}
"""File of a verifier -> another that decides its law, too."""

Key = tuple[int, int, bool, str, Proposal, tuple[int, str] | None]


@dataclass(frozen=True)
class Tree:
    """A builder with its options."""

    builder: Builder
    options: Options

    @property
    def key(self) -> tuple[int, str] | None:
        """None for the builders of this project: the cases of every check are theirs. A builder of a user's own may
        sort or drop what was drawn, so what it makes has to be checked by itself."""
        if self.builder in BUILT_IN_BUILDERS:
            return None
        return id(self.builder.grow), options_key(dict(self.options))


@dataclass(frozen=True)
class Proof:
    """The largest total variation that a check found.

    Attributes:
        about: the functions it is about; held, so that no other function comes to their place in memory.
    """

    distance: float
    about: tuple[Any, ...]


_checked: dict[Key, Proof] = {}


def says(verifier: Verifier, options: Options, proposal: Proposal, tree: Tree) -> Lossless:
    """What a run may say about the law of a verifier's output on such trees.

    Returns:
        ``yes`` or ``greedy decoding`` where that is promised and proved, ``no`` where a check has shown that it is
        neither, ``not proved`` otherwise.
    """
    promise = verifier.promise(proposal, options)
    key = _key(verifier, options, proposal, tree.key)
    proof = _checked.get(key) or _shipped().get(key)
    if proof is None:
        return "not proved"
    if proof.distance < EXACT:
        return "not proved" if promise == "no" else promise
    # Negated, so that a distance of NaN counts as one.
    return "no" if promise != "no" or not proof.distance <= LOSSY else "not proved"


def learn(verifier: Verifier, options: Options, proposal: Proposal, distance: float, tree: Tree | None = None) -> None:
    """Keep what a check found, for the runs of this process.

    Args:
        tree: what the check was about, if that is one tree of a builder that is not ours; None: every kind of ours.
    """
    about = (verifier.judge, verifier.walk, tree and tree.builder.grow)
    _checked[_key(verifier, options, proposal, None if tree is None else tree.key)] = Proof(distance, about)


def source_hash(verifier: Verifier) -> str:
    """Sixteen hexadecimal digits over the source files that a proof of one of ours rests on; "" if one is missing."""
    own = {f"verifiers/{function.__module__.rpartition('.')[2]}.py" for function in (verifier.judge, verifier.walk)}
    own |= {_AND_ON[name] for name in own & _AND_ON.keys()}
    digest = hashlib.sha256()
    try:
        for name in sorted({*_RESTS_ON, *own}):
            digest.update((_PACKAGE / name).read_text(encoding="utf-8").encode() + b"\0")
    except OSError:
        return ""
    return digest.hexdigest()[:16]


class Entry(Value):
    """One proof of the shipped table.

    Attributes:
        options: all of them, defaults too.
        distance: the largest total variation; ``on``: the tree and the toy model where it was found.
        cases, trees: how many trees on toy models, and how many draws of them, were summed over.
        source: see :func:`source_hash`.
    """

    verifier: Name
    options: dict[str, Option]
    proposal: Proposal
    promise: Promise
    verdict: str
    distance: float
    on: str
    cases: Count
    trees: Count
    source: str


class Table(Value):
    """The shipped table; ``specviz``: the version that made it."""

    specviz: str
    proofs: tuple[Entry, ...]


def read_table() -> tuple[Entry, ...]:
    """The entries of the shipped table; none where it is missing or is no such table."""
    try:
        return Table.model_validate_json(TABLE.read_bytes()).proofs
    except (OSError, ValueError):
        return ()


@lru_cache(maxsize=1)
def _shipped() -> dict[Key, Proof]:
    """Entries of the table that were made from the sources that run now."""
    ours = {verifier.name: (verifier, source_hash(verifier)) for verifier in BUILT_IN}
    found: dict[Key, Proof] = {}
    for entry in read_table():
        verifier, source = ours.get(entry.verifier, (None, ""))
        if verifier is not None and source and entry.source == source:
            key = _key(verifier, verifier.Options(**entry.options), entry.proposal, None)
            found[key] = Proof(entry.distance, (verifier.judge, verifier.walk))
    return found


def _key(verifier: Verifier, options: Options, proposal: Proposal, tree: tuple[int, str] | None) -> Key:
    """A verifier is its functions: the same rule may take part under several names, another rule under the same one."""
    return id(verifier.judge), id(verifier.walk), verifier.is_greedy, options_key(dict(options)), proposal, tree
