"""Checks of a head's files that several formats share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from specviz.errors import ModelError, SettingsError, shown
from specviz.models.heads.fields import Fields
from specviz.trace.schema import Option

MOST_PARTS = 64
"""Medusa's heads and their blocks, and rows that a block drafts at once; real ones have at most 16."""


def check_options(by_hand: Mapping[str, Option], known: Collection[str]) -> None:
    """Refuse an option of the user that the format does not have.

    Raises:
        SettingsError: with the names of those it has.
    """
    for name in by_hand:
        if name not in known:
            raise SettingsError(
                f"The draft head has no option {shown(name)}; its format has {', '.join(sorted(known))}."
            )


def check_size(name: str, ours: int, theirs: int) -> None:
    """Refuse a head made for a target of another size.

    Raises:
        ModelError: if ``ours``, the head's, is not ``theirs``, the target's.
    """
    if ours != theirs:
        raise ModelError(
            f"The draft head was made for a target of another {name} ({ours:,}, and this target has {theirs:,}); "
            "choose the target it was made for, or another head."
        )


def check_layer_ids(value: Any, name: str, first: int, last: int) -> tuple[int, ...]:
    """The layers that a head reads, as its config counts them.

    Raises:
        ModelError: for anything but one to :data:`MOST_PARTS` whole numbers in [first, last].
    """
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MOST_PARTS:
        raise ModelError(
            f"The config of the draft head does not say which layers of the target it reads ({name}); set its reads by "
            "hand, or choose another head."
        )
    for one in value:
        if isinstance(one, bool) or not isinstance(one, int) or not first <= one <= last:
            raise ModelError(
                f"The draft head reads layer {shown(one)} of its target ({name}), and this target has {first} to "
                f"{last}; choose the target it was made for."
            )
    return tuple(value)


def count_parts(names: Collection[str], prefix: str) -> int:
    """How many modules a list has whose tensors are called ``prefix``, a number, and a dot.

    Raises:
        ModelError: if a number is left out, or there are more than :data:`MOST_PARTS`.
    """
    found = {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    if len(found) > MOST_PARTS:
        raise ModelError(f"The draft head has {len(found):,} parts {prefix}*, and specviz runs at most {MOST_PARTS}.")
    for number in range(len(found)):
        if str(number) not in found:
            raise ModelError(f"The weights of the draft head lack {prefix}{number}; download it again.")
    return len(found)


def depth_of(rows: int, by_hand: Mapping[str, Option]) -> int:
    """How many of its ``rows`` a block drafts: all, or as many as the user says.

    Raises:
        SettingsError: for a number that is not from 1 to ``rows``.
    """
    return Fields({}, by_hand).whole("depth", rows, most=rows)


def vocabulary_of(tensors: Mapping[str, torch.Tensor], columns: int, vocabulary: int) -> torch.Tensor | None:
    """[Vd] int64: the target's id of each column of a head's logits; None where a column is the id itself.

    Args:
        tensors: among them ``d2t`` [Vd], of each column its id less its number, and ``t2d`` [V], whether an id has a
            column. Either may be missing.
        columns: Vd.
        vocabulary: V, the target's.

    Raises:
        ModelError: if an id is not in the target's vocabulary or comes twice, or the two tensors contradict.
    """
    d2t, t2d = tensors.get("d2t"), tensors.get("t2d")
    if d2t is None:
        if columns != vocabulary:
            raise ModelError(
                f"The draft head has {columns:,} columns, this target a vocabulary of {vocabulary:,}, and nothing says "
                "which tokens they are (d2t); choose the target it was made for, or another head."
            )
        return None
    if d2t.dtype not in (torch.int32, torch.int64) or d2t.shape != (columns,):
        raise ModelError(f"The d2t of the draft head is not one whole number for each of its {columns:,} columns.")
    ids = d2t.long() + torch.arange(columns)
    outside = ids[(ids < 0) | (ids >= vocabulary)]
    if len(outside):
        raise ModelError(
            f"The d2t of the draft head names the token {int(outside[0])}, and this target has {vocabulary:,}; choose "
            "the target it was made for."
        )
    if len(ids.unique()) < columns:
        raise ModelError("The d2t of the draft head names a token twice; download it again, or choose another head.")
    if t2d is not None:
        has = torch.zeros(vocabulary, dtype=torch.bool)
        has[ids] = True
        if t2d.shape != (vocabulary,) or not torch.equal(t2d.to(torch.bool), has):
            raise ModelError("The d2t and the t2d of the draft head name different tokens; download it again.")
    return None if torch.equal(ids, torch.arange(vocabulary)) else ids
