"""Find and report NaN and infinity in logits: which model, which node, and the layer in which they first appear."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from specviz.errors import NumericsError
from specviz.trace.schema import Nonfinite, cut

Kind = Literal["NaN", "infinity", "-infinity for every token"]

CACHED = "its cached keys or values"


@dataclass(frozen=True)
class Origin:
    """The first part of a model with NaN or infinity in its output.

    Attributes:
        module: as the model calls it, e.g. ``model.layers.3.mlp``; or :data:`CACHED`.
        layer: the one it belongs to, the first one 0; None outside the layers.
        rows: at which of the forward's rows it was so; None where the output does not tell.
    """

    module: str
    layer: int | None
    rows: tuple[int, ...] | None


@dataclass(frozen=True)
class Found:
    """What is known of logits that are not finite; it grows on the way up to the run.

    Attributes:
        id, dtype: of the model.
        kind: what the logits are.
        rows: of the forward, whose logits are so.
        origin: None where a repeated forward had only finite numbers.
        slot: in the cache before this forward, with NaN or infinity in it; ``origin`` is then about that slot.
        model, step: which one it is in the run, and in which step, counted from 1.
        nodes, first_nodes, first_tokens: as :class:`~specviz.trace.schema.Nonfinite`.
    """

    id: str
    dtype: str
    kind: Kind
    rows: tuple[int, ...]
    origin: Origin | None = None
    slot: int | None = None
    model: Literal["target", "draft"] | None = None
    step: int | None = None
    nodes: tuple[int, ...] = ()
    first_nodes: tuple[int, ...] = ()
    first_tokens: tuple[int, ...] = ()

    def sentence(self) -> str:
        """For people, with what to do."""
        what = {"NaN": "NaN logits", "infinity": "an infinite logit"}.get(self.kind, f"a logit of {self.kind}")
        who = f"The {self.model} {self.id}" if self.model else self.id
        where = f" at {_listed('node', self.nodes)}" if self.nodes else ""
        when = f" in step {self.step}" if self.step else ""
        if self.origin is None:
            began = "a repeated forward had finite numbers only"
        else:
            layer = "outside the layers" if self.origin.layer is None else f"in layer {self.origin.layer}"
            began = f"NaN or infinity first appears {layer} ({self.origin.module})"
            places = [_listed("node", self.first_nodes)] if self.first_nodes else []
            if self.first_tokens:
                places.append(f"{_listed('token', [place + 1 for place in self.first_tokens])} of the text")
            began += f" at {' and '.join(places)}" if places else ""
        cure = "load it in float32 or bfloat16" if self.dtype == "float16" else "check its weights"
        return f"{who} gave {what}{where}{when}; {began}; {cure}, or use another model."

    def recorded(self) -> Nonfinite | None:
        """As a trace keeps it; None where it belongs to no run."""
        if self.model is None:
            return None
        return Nonfinite(
            model=self.model,
            found=self.kind,
            nodes=self.nodes,
            module=cut(self.origin.module) if self.origin else None,
            layer=self.origin.layer if self.origin else None,
            first_nodes=self.first_nodes,
            first_tokens=self.first_tokens,
        )


class LogitsError(NumericsError):
    """Logits of which no distribution can be made."""

    def __init__(self, found: Found):
        super().__init__(found.sentence())
        self.found = found

    def __reduce__(self) -> Any:
        return type(self), (self.found,)  # an error comes back from a process with a lent GPU


@contextmanager
def told_with(**known: Any) -> Iterator[None]:
    """Let an error of logits inside say more; see :class:`Found`."""
    try:
        yield
    except LogitsError as error:
        raise LogitsError(replace(error.found, **known)) from error


def kind_of(best: torch.Tensor) -> tuple[Kind, tuple[int, ...]] | None:
    """What is wrong with rows of logits, and with which; None if a distribution can be made of each.

    Args:
        best: [n], the largest logit of each row: NaN or infinite exactly when no distribution can be made of the row.
    """
    bad = ~best.isfinite()
    if not bool(bad.any()):
        return None
    worst = best[bad]
    kind: Kind = (
        "NaN" if bool(worst.isnan().any()) else "infinity" if bool((worst > 0).any()) else "-infinity for every token"
    )
    return kind, tuple(bad.nonzero()[:, 0].tolist())


def find_origin(
    modules: Mapping[str, torch.nn.Module], run: Callable[[], Any], rows: int, layers: int
) -> Origin | None:
    """Repeat a forward over ``rows`` tokens and look at what every part of the model gives, in the order it is done.

    Args:
        modules: by name; ``run`` calls all of them.
        layers: how many the model has.
    """
    origin: Origin | None = None

    def looked(name: str) -> Callable[..., None]:
        def look(_module: Any, _arguments: Any, output: Any) -> None:
            nonlocal origin
            for tensor in _tensors(output):
                if origin is None and not bool(tensor.isfinite().all()):
                    origin = Origin(name, _layer(name, layers), _bad_rows(tensor, rows))

        return look

    hooks = [module.register_forward_hook(looked(name)) for name, module in modules.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return origin


def _tensors(output: Any) -> Iterable[torch.Tensor]:
    parts = (
        output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else [output]
    )
    return (part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point())


def _bad_rows(tensor: torch.Tensor, rows: int) -> tuple[int, ...] | None:
    """Which rows of [1, rows, x] or [rows, x] are not finite; None for another shape."""
    if tensor.dim() == 3 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.dim() != 2 or tensor.shape[0] != rows:
        return None
    return tuple((~tensor.isfinite()).any(-1).nonzero()[:, 0].tolist())


def _layer(name: str, layers: int) -> int | None:
    found = re.search(r"\.(\d+)(\.|$)", name)
    return int(found[1]) if found and int(found[1]) < layers else None


def _listed(what: str, numbers: Sequence[int]) -> str:
    """``node 3``; ``nodes 1, 2 and 5``; long lists are cut."""
    if len(numbers) == 1:
        return f"{what} {numbers[0]}"
    if len(numbers) > 6:
        return f"{what}s {', '.join(map(str, numbers[:5]))} and {len(numbers) - 5} more"
    return f"{what}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
