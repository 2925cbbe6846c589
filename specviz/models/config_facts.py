"""What a config says of how a model computes: with other rotary frequencies, equal weights are another model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from specviz.trace.schema import LONGEST_NAME, MOST_OPTIONS

_NO_FACT = re.compile(
    r".*(dropout|drop|pdrop)|.*_token_id|_.*|output_.*|id2label|label2id|problem_type|return_dict|architectures|dtype"
    r"|torch_dtype|transformers_version|use_cache|initializer_.*|init_.*|pretraining_tp|quantization_config"
    r"|chunk_size_feed_forward|task_specific_params|name_or_path|attn_implementation|summary_.*|is_encoder_decoder"
)
"""Fields by which nothing changes in a forward, or that are recorded elsewhere."""


def config_facts(config: Any) -> dict[str, str]:
    """Field -> value, both as text, of all in a config that may change what the model computes.

    Args:
        config: of transformers. Fields of dictionaries are named ``outer.inner``; what is longer than a name may be is
            replaced by a hash of it.
    """
    return dict(sorted(_facts(config.to_dict()))[:MOST_OPTIONS])


def _facts(fields: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in fields.items():
        name = f"{prefix}{key}"
        if _NO_FACT.fullmatch(str(key)) or value is None or len(name) > LONGEST_NAME:
            continue
        if isinstance(value, dict):
            yield from _facts(value, f"{name}.")
            continue
        text = json.dumps(value, sort_keys=True, default=str)
        yield name, text if len(text) <= LONGEST_NAME else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
