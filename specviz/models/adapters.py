"""Adapters: small weights that change another model. With peft they are merged into it when it is loaded.

What a stranger wrote into an adapter's config is data: only plain LoRA in safetensors is read, and nothing that would
have peft import a module by name.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from specviz.errors import ModelError, shown
from specviz.models.checkpoints import ADAPTER_CONFIG

WEIGHTS = "adapter_model.safetensors"
MOST_CONFIG_BYTES = 1024 * 1024
TRAINED = ("megatron_config", "alora_invocation_tokens", "arrow_config", "layer_replication")
"""Fields of a config with which peft imports other modules, or with which no merged model says the same."""
STARTS = (True, None, "gaussian")
"""Ways of starting that leave the model as it was; others change its weights before the adapter's are read."""


def base_of(folder: Path) -> str:
    """The model that the adapter in this folder changes, as one would write it: a folder, or a hub id with a revision.

    Raises:
        ModelError: if peft is not there to merge it, or it is of a kind that cannot be merged.
    """
    what = f"The folder {shown(str(folder), 200)}"
    try:
        if (folder / ADAPTER_CONFIG).stat().st_size > MOST_CONFIG_BYTES:
            raise ValueError
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        kind, base, revision = (config.get(key) for key in ("peft_type", "base_model_name_or_path", "revision"))
        if not isinstance(base, str) or not base.strip():
            raise ValueError
    except (OSError, ValueError, AttributeError, RecursionError):
        raise ModelError(
            f"{what} holds an adapter whose {ADAPTER_CONFIG} names no model that it changes; choose a whole model."
        ) from None
    plain = kind == "LORA" and not any(config.get(field) for field in TRAINED)
    if not plain or config.get("init_lora_weights", True) not in STARTS or not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{what} holds an adapter ({shown(kind)}) and no model, of a kind that specviz does not merge (only plain "
            f"LoRA in {WEIGHTS}); merge it into {shown(base)} yourself, or choose a whole model."
        )
    if importlib.util.find_spec("peft") is None:
        raise ModelError(
            f"{what} holds an adapter (LoRA) for {shown(base)} and no model; run 'pip install peft' to have it merged "
            "when it is loaded, or give a folder that merge_and_unload and save_pretrained wrote."
        )
    return f"{base.strip()}@{revision}" if isinstance(revision, str) and revision else base.strip()


def check_unquantized(config: Any, quantization: str, name: str) -> None:
    """An adapter is merged into weights as they were trained: into rounded ones it would be rounded away.

    Args:
        config: of the model that the adapter changes.

    Raises:
        ModelError: if its weights are quantized, or are to be.
    """
    if quantization != "none" or getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            f"{name} is an adapter and cannot be merged into quantized weights; choose no quantization and a model "
            "with plain weights, or merge it yourself first."
        )


def merged(model: Any, folder: str, name: str) -> Any:
    """The model with the adapter in ``folder`` merged into its weights.

    Raises:
        ModelError: if the adapter belongs to another model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        adapted = PeftModel.from_pretrained(model, folder)
        known = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        with safe_open(str(Path(folder) / WEIGHTS), "pt") as file:
            strange = sorted(key for key in file.keys() if key not in known)  # noqa: SIM118
        # peft leaves out what it finds no place for. A place that the file has nothing for adds nothing.
        if strange:
            raise KeyError(f"it has no place for {strange[0]}")
        return adapted.merge_and_unload(safe_merge=True)
    except Exception as error:
        first = (str(error).strip(" '\"").splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            f"The adapter {name} could not be merged into the model that it names ({first}); check that they belong "
            "together, or merge it yourself."
        ) from error
