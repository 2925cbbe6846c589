"""Loaded models and draft heads, each with what a trace records of it."""

from __future__ import annotations

from typing import Any

from specviz.errors import SpecvizError
from specviz.models.config_facts import config_facts
from specviz.models.head_model import HeadModel
from specviz.models.heads.head import DraftHead
from specviz.models.hidden_state_head import HiddenStateHead
from specviz.models.language_model import LanguageModel
from specviz.models.quantization import quantization_name, quantization_note
from specviz.models.sources import Source, load_error
from specviz.models.tree_check import check_tree_attention
from specviz.models.weights import weights_hash
from specviz.trace.schema import LONGEST_NAME, HeadInfo, ModelInfo, cut


def language_model(model: Any, source: Source, head: HiddenStateHead | None = None) -> LanguageModel:
    """Wrap a loaded model together with what is known about it.

    Args:
        head: with which it reads its target, if it does; moved to the model's device.

    Raises:
        ModelError: if a tree is not scored as its paths are, see :mod:`specviz.models.tree_check`. Only running the
            model can tell; for the built-in pair the tests do.
    """
    config = model.config
    info = ModelInfo(
        id=source.name,
        source=source.kind,
        revision=(source.kind == "hub" and getattr(config, "_commit_hash", None)) or source.revision,
        weights=weights_hash(model, head) if head else weights_hash(model),
        config=config_facts(config),
        architecture=cut(type(model).__name__, LONGEST_NAME),
        parameters=model.num_parameters(),
        layers=config.num_hidden_layers,
        vocabulary=config.vocab_size,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.get_input_embeddings().weight.device),
        quantization=quantization_name(config),
        reads=head.layers if head else (),
        head=_own_head(head, config) if head else None,
        note=cut("; ".join(note for note in (source.note, quantization_note(config)) if note)) or None,
    )
    device = model.get_input_embeddings().weight.device
    wrapped = LanguageModel(model, info, head.to(device) if head else None)
    if not source.built_in:
        try:
            check_tree_attention(wrapped)
        except SpecvizError:
            raise
        except Exception as error:  # of the model's own code, met by a cache or a mask it does not know
            raise load_error(error, source.name) from error
    return wrapped


def _own_head(head: HiddenStateHead, config: Any) -> HeadInfo:
    """Of a draft of specviz's own that reads its target."""
    return HeadInfo(
        format="hidden_state", kind="step", reads=head.layers, before_norm=False, layers=config.num_hidden_layers
    )


def head_model(head: DraftHead, name: str, target: LanguageModel, source: Source | None = None) -> HeadModel:
    """A head that drafts for a loaded target, with what is known about it.

    Args:
        head: on any device, bound or not; it is moved to the target's.
        source: where it was found, if it was read from files.
    """
    head.to(target.device)
    head.bind(target.model)
    parameter = next(head.parameters())
    info = ModelInfo(
        id=name,
        source=source.kind if source else None,
        revision=source.revision if source else None,
        weights=weights_hash(head),
        config=config_facts(head.config),
        architecture=cut(type(head).__name__, LONGEST_NAME),
        parameters=sum(one.numel() for one in head.parameters()),
        layers=head.layers,
        vocabulary=target.vocabulary if head.token_ids is None else len(head.token_ids),
        dtype=str(parameter.dtype).removeprefix("torch."),
        device=str(target.device),
        reads=head.info.reads,
        head=head.info,
        note=source.note if source else None,
    )
    return HeadModel(head, info, target.vocabulary)
