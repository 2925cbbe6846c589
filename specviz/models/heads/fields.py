"""What the config of a draft head says. Configs are strangers' files, so every value is checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specviz.errors import ModelError, SettingsError, shown

SPECULATORS = "speculators_model_type"
"""Field of a config in the layout of speculators: which kind of head it is."""
MOST = 1 << 22
"""The largest width, count or id in a config that is taken for one."""
ROPE_KINDS = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose cached keys do not change with the length of the text."""
ROPE_NUMBERS = (
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
)


ROPE_NEEDS = {
    "linear": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Of these, what each kind cannot be without."""


class Fields:
    """The fields of a config, or what a user set by hand in their place.

    Args:
        values: of the config, as its file has them.
        by_hand: name -> value, taken first.
    """

    def __init__(self, values: Mapping[str, Any], by_hand: Mapping[str, Any] | None = None):
        self.values = values
        self.by_hand = dict(by_hand or {})

    def whole(self, key: str, default: int | None = None, *, least: int = 1, most: int = MOST) -> int:
        """A whole number from ``least`` to ``most``."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._error(key, value, f"a whole number from {least:,} to {most:,}")
        return value

    def number(self, key: str, default: float | None = None, *, least: float = 0.0) -> float:
        """A finite number above ``least``."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least < value < 1e15:
            raise self._error(key, value, f"a number above {least:g}")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._error(key, value, "true or false")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise self._error(key, value, f"one of {', '.join(allowed)}")
        return value

    def wholes(self, key: str, *, most: int, count: int = 64) -> tuple[int, ...] | None:
        """A list of whole numbers from 0 to ``most``, None where the config has none."""
        values = self._get(key, None)
        if values is None:
            return None
        if not isinstance(values, (list, tuple)) or not 0 < len(values) <= count:
            raise self._error(key, values, f"a list of 1 to {count} whole numbers")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise self._error(key, value, f"whole numbers from 0 to {most:,}")
        return tuple(values)

    def part(self, key: str) -> Fields:
        """The fields of a dict in this config, none where it has none. What is set by hand holds there too."""
        value = self.values.get(key)
        return Fields(value if isinstance(value, Mapping) else {}, self.by_hand)

    def _get(self, key: str, default: Any) -> Any:
        if key in self.by_hand:
            return self.by_hand[key]
        value = self.values.get(key)
        return default if value is None else value

    def _error(self, key: str, value: Any, wanted: str) -> ModelError | SettingsError:
        if key in self.by_hand:
            return SettingsError(f"The option {key} of the draft head is {shown(value)}; give {wanted}.")
        return ModelError(
            f"The config of the draft head has {key} = {shown(value)} where {wanted} should be; download it again, or "
            "choose another head."
        )


def reads_by_hand(value: Any, most: int) -> tuple[int, ...]:
    """Layers that a user named: whole numbers with commas between them, from 0 to ``most``.

    Raises:
        SettingsError: if they are none.
    """
    parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    known = {str(number): number for number in range(most + 1)}
    reads = tuple(known.get(str(part).strip(), -1) for part in parts)
    if -1 in reads or len(reads) > 64:
        raise SettingsError(
            f"The layers {shown(value)} that a draft head is to read are none of this target; give whole numbers from "
            f"0 to {most} with commas between them."
        )
    return reads


def rope_parameters(fields: Fields) -> dict[str, Any]:
    """``rope_parameters`` as transformers 5 takes them, from those of a config of any age and from those set by hand.

    By hand they are named ``rope_theta``, ``rope_type``, ``rope_factor`` and so on, see :data:`ROPE_NUMBERS`.

    Raises:
        ModelError, SettingsError: for a kind whose keys change with the length of the text, and for broken numbers.
    """
    saved = fields.values.get("rope_parameters") or fields.values.get("rope_scaling") or {}
    if not isinstance(saved, Mapping):
        raise fields._error("rope_scaling", saved, "a dict")
    given = {_rope_name(key): value for key, value in saved.items()}
    given.setdefault("rope_type", saved.get("type", "default"))
    given.setdefault("rope_theta", fields.values.get("rope_theta"))
    inside = Fields(given, fields.by_hand)
    kind = inside.one_of("rope_type", ROPE_KINDS, "default")
    if inside.number("rope_partial_rotary_factor", 1.0) != 1.0:
        raise ModelError("The draft head rotates a part of each key only, which specviz does not run; choose another.")
    found: dict[str, Any] = {"rope_type": kind, "rope_theta": inside.number("rope_theta", 10_000.0)}
    for key in ROPE_NUMBERS[1:] if kind != "default" else ():
        name = _rope_name(key)
        if given.get(name) is not None or name in fields.by_hand:
            number = inside.number(name)
            found[key] = int(number) if key.startswith("original") else number
    for key in ROPE_NEEDS.get(kind, ()):
        if key not in found:
            inside.number(_rope_name(key))  # refuses that there is none
    return found


def rope_options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same by the names under which they are set by hand and recorded."""
    return {_rope_name(key): value for key, value in parameters.items()}


ROPE_OPTIONS = ("rope_type", *(key if key == "rope_theta" else f"rope_{key}" for key in ROPE_NUMBERS))
"""Names of what can be set by hand of the rotary embeddings."""


def _rope_name(key: str) -> str:
    return key if key.startswith("rope_") else f"rope_{key}"
