"""Published draft heads by the figures of their configs, so that a memory plan needs no network.

Those of DeepSpec are made by its configs (github.com/deepseek-ai/DeepSpec, config/): Qwen3 layers of the target's own
shape, five of the target's hidden states, embeddings and output head of their own. Their ids are those that its README
lists as released checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

from specviz.models.model_spec import ModelSpec

_NO_LICENCE = "none stated"


@dataclass(frozen=True)
class HeadSpec(ModelSpec):
    """A draft head: the figures of its layers, and what it has beside them.

    Attributes:
        format: as :class:`~specviz.trace.schema.HeadInfo` has it.
        reads: how many of the target's hidden states.
        columns: of its own output head; 0 where it uses the target's.
        embeddings: whether it has its own.
        markov: rank of DSpark's bias; 0 for none.
    """

    format: str = "eagle3"
    reads: int = 3
    columns: int = 0
    embeddings: bool = False
    markov: int = 0


def head_spec(id: str, target: ModelSpec, *, layers: int, licence: str, **figures: object) -> HeadSpec:
    """A head whose layers have the shape of the target's.

    Args:
        figures: the fields that :class:`HeadSpec` has beside those of :class:`~specviz.models.model_spec.ModelSpec`.
    """
    shape = {
        name: getattr(target, name)
        for name in ("family", "hidden", "heads", "kv_heads", "head_dim", "intermediate", "vocabulary", "positions")
    }
    spec = HeadSpec(id, licence=licence, parameters=0, layers=layers, tied=False, dtype="bfloat16", **shape, **figures)  # type: ignore[arg-type]
    return HeadSpec(**(vars(spec) | {"parameters": head_parameters(spec)}))


def head_parameters(spec: HeadSpec) -> int:
    """How many weights such a head has, norms and biases included."""
    hidden, wide = spec.hidden, spec.heads * spec.head_dim
    pairs = spec.format == "eagle3"  # its first layer reads a state and an embedding side by side
    per_head_norms = 2 * spec.head_dim if spec.family == "qwen3" else 0
    layer = (
        hidden * (wide + 2 * spec.kv_heads * spec.head_dim)  # queries, keys, values
        + wide * hidden
        + 3 * hidden * spec.intermediate
        + 2 * hidden  # norms
        + per_head_norms
    )
    first = hidden * (wide + 2 * spec.kv_heads * spec.head_dim) + hidden if pairs else 0
    around = spec.reads * hidden * hidden + hidden + (0 if pairs else hidden)  # fc, the norm, DFlash's norm of states
    tables = (spec.vocabulary if spec.embeddings else 0) * hidden + spec.columns * hidden
    bias = spec.markov * (spec.vocabulary + (spec.columns or spec.vocabulary))
    confidence = hidden + spec.markov + 1 if spec.markov else 0
    return spec.layers * layer + first + around + tables + bias + confidence


def deepspec_heads(target: ModelSpec, size: str) -> tuple[HeadSpec, HeadSpec, HeadSpec]:
    """EAGLE-3, DFlash and DSpark as DeepSpec released them for a Qwen3 model of this size."""
    own = {"reads": 5, "columns": target.vocabulary, "embeddings": True}
    name = f"deepseek-ai/{{}}_qwen3_{size}_{{}}"
    return (
        head_spec(name.format("eagle3", "ttt7"), target, layers=1, licence=_NO_LICENCE, format="eagle3", **own),
        head_spec(name.format("dflash", "block7"), target, layers=5, licence=_NO_LICENCE, format="dflash", **own),
        head_spec(
            name.format("dspark", "block7"), target, layers=5, licence=_NO_LICENCE, format="dspark", markov=256, **own
        ),
    )


def eagle3_head(id: str, target: ModelSpec, *, columns: int) -> HeadSpec:
    """An EAGLE-3 head of its authors: one layer, three states, the target's embeddings, a part of its vocabulary."""
    return head_spec(id, target, layers=1, licence="see its model card", format="eagle3", reads=3, columns=columns)
