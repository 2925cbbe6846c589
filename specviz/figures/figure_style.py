"""How verifiers look in the viewer: a colour *role* (``v0`` ...) and a dash.

Style sheets have the colour of each role, so one frame serves the light and the dark page.
"""

from __future__ import annotations

from collections.abc import Sequence

from specviz.figures.block_types import Looks
from specviz.verifier_styles import SLOTS, slots_of


def verifier_looks(names: Sequence[str]) -> list[Looks]:
    """Colour role and dash of every verifier; see :mod:`specviz.verifier_styles`."""
    return [{"name": name, "role": f"v{slot}", "dash": SLOTS[slot].dash} for name, slot in slots_of(names).items()]


def verifier_css() -> str:
    """The colours of all verifiers as CSS variables of the viewer, ``--sv-v0`` and on, for both themes."""
    light, dark = (
        "".join(f" --sv-v{slot}: {getattr(style, theme)};" for slot, style in enumerate(SLOTS))
        for theme in ("light", "dark")
    )
    return (
        f'.specviz, .specviz [data-theme="light"] {{{light} }}\n'
        f'.dark .specviz, [data-theme="dark"] .specviz, .specviz [data-theme="dark"] {{{dark} }}\n'
    )
