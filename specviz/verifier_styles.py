"""How each verifier is drawn, light and dark: on the page, in exported files and in the charts of comparisons.

One row a verifier, by name. It is no field of :class:`~specviz.verifiers.Verifier`, because a recorded run is drawn
without torch, which the verifiers' own files import. A new verifier of this project gets its row here; those of users
take the rows that a run leaves free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """Never colour alone: the dash differs, too, and so does the symbol in charts.

    Attributes:
        light, dark: the colour on a light and on a dark page.
        dash: of lines, as SVG and Plotly write it.
    """

    light: str
    dark: str
    dash: str


STYLES: dict[str, Style] = {
    "rejection": Style("#0072b2", "#4aa8e8", "solid"),
    "eta": Style("#e69f00", "#e69f00", "6px,4px"),
    "longest_path": Style("#009e73", "#19b98a", "2px,3px"),
    "traversal": Style("#d55e00", "#f07f2e", "9px,3px,2px,3px"),
    "naive": Style("#cc79a7", "#dd93bd", "12px,4px"),
    "greedy": Style("#56b4e9", "#9bd8ff", "4px,2px,1px,2px,1px,2px"),
    "coupling": Style("#6a3d9a", "#b08be0", "16px,3px"),
    "lenience": Style("#7a5c00", "#c9a227", "3px,1px"),
    "relaxed": Style("#555555", "#b0b0b0", "1px,4px"),
}
"""Of the verifiers of this project, the same in every run. The colours of the first six are those of Okabe and Ito."""
SPARE = Style("#000000", "#f0e442", "1px,2px")
"""Of a user's verifier before it takes the style of one that did not run."""

SLOTS: tuple[Style, ...] = (*STYLES.values(), SPARE)
"""All styles in order. A figure names a colour by its place here, ``v0`` to ``v9``."""


def slots_of(names: Sequence[str]) -> dict[str, int]:
    """Place in :data:`SLOTS` of every verifier of a run: known ones keep theirs, others take free ones from the end.

    With more verifiers than styles, those that are left share the first.
    """
    own = {name: slot for slot, name in enumerate(STYLES)}
    free = [slot for slot in range(len(SLOTS)) if slot not in {own[name] for name in names if name in own}]
    return {name: own[name] if name in own else (free.pop() if free else 0) for name in names}
