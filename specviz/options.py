"""Options of builders and verifiers: declared once, validated the same way everywhere."""

from __future__ import annotations

from typing import Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from specviz.errors import SettingsError, plain, shown
from specviz.trace.schema import Choice


class Options(BaseModel):
    """Base of builder and verifier options: unknown names and wrong types are refused."""

    # A tree of one level, "3", arrives as a number from a command line or a JSON file.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


def parse_options(model: type[Options], kind: str, choice: Choice) -> Options:
    """Validate the options of a choice.

    Args:
        kind: "builder" or "verifier", for the message.

    Raises:
        SettingsError: naming the first option that is unknown or unfit.
    """
    try:
        return model(**choice.options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        known = ", ".join(model.model_fields) or "none"
        where = ".".join(str(part) for part in first["loc"])
        value = shown(choice.options.get(where))
        why = "there is none of that name" if first["type"] == "extra_forbidden" else first["msg"][:150]
        raise SettingsError(
            f"The {kind} {choice.name} cannot use option {plain(where)}={value} ({why}); its options are: {known}."
        ) from None


def option_kind(info: FieldInfo) -> Literal["choice", "yes", "whole", "number", "text"]:
    """What is asked for an option, by its type: one of a few words, yes or no, a whole number, a number, or a text."""
    kind: Any = info.annotation
    if get_origin(kind) is Literal:
        return "choice"
    if kind is bool:
        return "yes"
    if kind is int:
        return "whole"
    return "number" if kind is float else "text"
