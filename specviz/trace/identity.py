"""Whether the models that are loaded are the ones that recorded a run.

A name says little: a folder can be filled with another checkpoint, a branch on the hub can move. Where both sides have
a hash of their weights it decides; where one has none, everything else that was recorded is compared, and
:func:`caveats` says that the weights themselves are not known to be the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from specviz.errors import SettingsError, plain, shown
from specviz.trace.schema import WEIGHTS_SCHEME, HeadInfo, ModelInfo, Models

HASH_DIGITS = 12
NOT_RECORDED = "not recorded"
ROLES = ("target", "draft")


def refuse_other_models(loaded: Models, recorded: Models, roles: Iterable[str] = ROLES) -> None:
    """See that a run's models are loaded before anything is done that takes them for the run's.

    Raises:
        SettingsError: naming the first of ``roles`` that is another model than the recorded one.
    """
    for role in roles:
        if said := mismatch(getattr(loaded, role), getattr(recorded, role), role):
            raise SettingsError(said)


def mismatch(loaded: ModelInfo, recorded: ModelInfo | None, role: str) -> str | None:
    """Why ``loaded`` is another model than ``recorded``, as a sentence; None where nothing recorded says so."""
    found = None if recorded is None else first_difference(loaded, recorded)
    if recorded is None or found is None:
        return None
    what, then, now = found
    if what == "name":
        return (
            f"This run was recorded with the {role} {plain(recorded.id)} and {plain(loaded.id)} is chosen; choose "
            f"{plain(recorded.id)} under Settings."
        )
    if what == "weights":
        return f"{_other_weights(loaded, recorded, role)} under Settings."
    return (
        f"This run was recorded with another {role} than the {plain(loaded.id)} that is loaded ({what} {then}, now "
        f"{now}); choose the recorded one under Settings."
    )


def first_difference(loaded: ModelInfo, recorded: ModelInfo) -> tuple[str, str, str] | None:
    """(what, as recorded, now) that tells two models apart; None where nothing recorded does.

    Equal weights are one model whatever it is called, if its config computes the same with them: the fields that both
    sides recorded are compared, because another transformers may know others, and another engine may have told less.
    The number format is not looked at: weights that it rounded have another hash, and others are the same in a wider
    one.
    """
    same = same_weights(loaded, recorded)
    if same is None and loaded.id != recorded.id:
        return "name", plain(recorded.id), plain(loaded.id)
    if same is False and loaded.quantization == recorded.quantization:
        return "weights", short_weights(recorded), short_weights(loaded)
    for what, now, then in _facts(loaded, recorded, same):
        if now != then:
            return what, then, now
    return None


def other_models(loaded: Models, recorded: Models) -> str | None:
    """What tells two pairs of one experiment apart, in some words; None for nothing. Number formats count here."""
    for role in ROLES:
        now, then = getattr(loaded, role), getattr(recorded, role)
        if now is None or then is None:
            if now is not then:
                return f"{role}: {_id(then)}, now {_id(now)}"
            continue
        found = first_difference(now, then)
        if found is None and now.dtype != then.dtype:
            found = "number format", plain(then.dtype or NOT_RECORDED), plain(now.dtype or NOT_RECORDED)
        if found is not None:
            return f"{role}: {found[0]} {found[1]}, now {found[2]}"
    return None


def same_weights(a: ModelInfo | None, b: ModelInfo | None) -> bool | None:
    """Whether two models have the same weights, by their hashes; None where one has none, or another kind of hash."""
    hashes = [one.weights if one else None for one in (a, b)]
    if not all(one is not None and one.startswith(f"{WEIGHTS_SCHEME}:") for one in hashes):
        return None
    return hashes[0] == hashes[1]


def known_weights(loaded: Models, recorded: Models) -> bool:
    """Whether hashes say that both models have the recorded weights."""
    return all(same_weights(getattr(loaded, role), getattr(recorded, role)) is True for role in ROLES)


def caveats(loaded: Models, recorded: Models, roles: Iterable[str] = ROLES) -> str | None:
    """What is to be said where a run goes on with models that nothing recorded speaks against; None for nothing."""
    unknown, formats = [], []
    for role in roles:
        now, then = getattr(loaded, role), getattr(recorded, role)
        if same_weights(now, then) is None:
            unknown.append(role)
        if now and then and then.dtype is not None and now.dtype != then.dtype:
            formats.append(f"the {role} was recorded in {then.dtype} and is loaded in {now.dtype}")
    said = []
    if unknown:
        said.append(
            f"The weights of the {' and the '.join(unknown)} were not recorded with this run; name and sizes are those "
            "recorded, more is not known."
        )
    if formats:
        said.append(f"Numbers can differ by rounding: {'; '.join(formats)}.")
    return " ".join(said) or None


def short_weights(model: ModelInfo | None) -> str:
    """The first digits of the hash of a model's weights, for people to compare."""
    return model.weights.rpartition(":")[2][:HASH_DIGITS] if model and model.weights else NOT_RECORDED


def identity_lines(models: Models) -> dict[str, str]:
    """What tells a pair from others, name -> text, as two runs are compared by it."""
    lines = {}
    for role in ROLES:
        model: ModelInfo | None = getattr(models, role)
        lines[role] = _id(model)
        lines[f"{role} weights"] = short_weights(model)
        lines[f"{role} revision"] = (model and model.revision) or NOT_RECORDED
        # Of a model whose number format was not recorded nobody knows whether it was quantized.
        none = NOT_RECORDED if model is None or model.dtype is None else "none"
        lines[f"{role} quantization"] = (model and model.quantization) or none
        lines[f"{role} number format"] = (model and model.dtype) or NOT_RECORDED
    return lines


def _id(model: ModelInfo | None) -> str:
    return NOT_RECORDED if model is None else model.id


def _facts(loaded: ModelInfo, recorded: ModelInfo, same: bool | None) -> Iterable[tuple[str, str, str]]:
    """(name, now, then) of what must be equal, besides the weights or where they are not known."""
    if loaded.dtype and recorded.dtype:  # else another engine did not say: null and nothing mean that there
        yield "quantization", shown(loaded.quantization or "none"), shown(recorded.quantization or "none")
        yield "hidden states read", shown(list(loaded.reads)), shown(list(recorded.reads))
    if loaded.head and recorded.head:
        yield "head", _head(loaded.head), _head(recorded.head)
    for name in sorted(loaded.config.keys() & recorded.config.keys()):
        yield _bare(name), _bare(loaded.config[name]), _bare(recorded.config[name])
    if same is None:
        if loaded.architecture and recorded.architecture:
            yield "class", shown(loaded.architecture), shown(recorded.architecture)
        for name in ("parameters", "layers", "vocabulary"):
            now, then = getattr(loaded, name), getattr(recorded, name)
            if now is not None and then is not None:
                yield name, f"{now:,}", f"{then:,}"
        if loaded.revision and recorded.revision:
            yield "revision", shown(loaded.revision), shown(recorded.revision)


def _head(head: HeadInfo) -> str:
    """How a head is run."""
    options = [f"{name}={value}" for name, value in sorted(head.options.items())]
    return shown(" ".join([head.format, *options, *(["before the norm"] if head.before_norm else [])]), 300)


def _other_weights(loaded: ModelInfo, recorded: ModelInfo, role: str) -> str:
    what = (
        f"The {role} {plain(loaded.id)} has other weights ({short_weights(loaded)}) than the one that recorded this "
        f"run ({short_weights(recorded)})"
    )
    if recorded.dtype and loaded.dtype != recorded.dtype:
        return f"{what}, or they were rounded to {plain(loaded.dtype)}: choose it, or {plain(recorded.dtype)},"
    if recorded.quantization and _kind(loaded.device) != _kind(recorded.device):
        return f"{what}, or were quantized otherwise on this device: choose it, or {plain(_kind(recorded.device))},"
    if recorded.source == "hub" and recorded.revision and recorded.revision != loaded.revision:
        return f"{what}; choose {shown(recorded.id.partition('@')[0] + '@' + recorded.revision, 200)}"
    return f"{what}; choose that one"


def _bare(text: str) -> str:
    """A name or a value of a config, without quotes of ours: values are JSON already."""
    return text if text.isprintable() and len(text) <= 80 else shown(text, 80)


def _kind(device: str | None) -> str:
    return (device or NOT_RECORDED).partition(":")[0]
