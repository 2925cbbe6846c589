"""Every causal family of transformers, tried as a tiny random model: an audited run, or a refusal in one sentence.

    python -m tests.families [FAMILY ...] [--processes N]

Prints one line a family, and counts. The exit status is 1 if a family ends in a traceback, in an audit beyond its
tolerance, or not at all. Each one has a process of its own with a limit of time and memory, so that none stops the
others.

A config is made of the family's own defaults, whose sizes are shrunk by their names (:data:`SIZES`): widths, layers,
heads, experts, and every length (windows, chunks, blocks ...) so far that the prompt alone is several times as long. A
run whose context stays inside a window would prove nothing about the window. Where names do not tell enough there is
:data:`OVERRIDES`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from specviz.engine.session import Session
from specviz.errors import SpecvizError
from specviz.models.compat import check_config
from specviz.models.loading import load_pair
from specviz.trace.metrics import tolerances
from specviz.trace.schema import Choice, Settings
from tests import tiny

SECONDS, GIGABYTES = 120, 12
"""What one family may take: time by the clock, and address space."""
LENGTH = 8
"""What every window, chunk and block is shrunk to."""
LAYERS = 4
PROMPT = "the sea and the rain and the sun in the morning"
STEPS = 3
NO_CONFIG = (StrictDataclassClassValidationError, StrictDataclassFieldValidationError)
"""What a config raises that contradicts itself."""
BAD = ("traceback", "beyond tolerance", "no answer")

SIZES: tuple[tuple[str, int | None], ...] = (
    (r".*token_(id|index)|.*_index|.*_theta|.*_id|seed", None),
    (r"(text_|unpadded_)?vocab_size(_per_layer_input)?", tiny.VOCABULARY),
    (r"num_hidden_layers|n_layers?|num_layers|decoder_layers|encoder_layers|num_blocks", LAYERS),
    (r".*(num|n)_(key_value|kv)_heads|kv_n_heads|linear_num_key_heads", 2),
    (r".*(num|n|attention)_heads?(_per_layer)?|.*n_head|.*_heads", 4),
    (r"(num|n)_experts_per_tok(en)?|top_k_experts|moe_top_?k|moe_k|num_selected_experts", 2),
    (r".*(num|n)_shared_experts|n_group|topk_group|num_expert_group|first_k_dense_replace|num_dense_layers", 1),
    (r".*num_(local_)?experts|n_routed_experts|moe_num_experts|zero_expert_num", 4),
    (r".*_rank|.*lowrank", 16),
    (r"qk_head_dim", 16),
    (r"kv_channels|rotary_dim|.*head_(dim|size)|.*headdim|d_head|dim_head|d_rel|mamba_d_head", 8),
    (r"hidden_size_per_layer_input|linear_.*_dim", 8),
    (r".*(intermediate|ffn|inner|mlp|expert|feed_forward).*(size|dim)|dim_?ff|dff|d_ff|n_inner|d_inner", 64),
    (
        r"(attention_|global_)?hidden_size|n_embd|d_model|.*embedding_(size|dim)|.*embed(_proj)?_dim|lru_width|emb_dim",
        32,
    ),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|model_max_length|context_length", tiny.POSITIONS),
    (r"original_max_position_embeddings|.*_floor|floor_scale|.*extent|max_distance", LENGTH),
    (r"(.*_)?window(_size|_len)?|.*chunk_(size|length)|.*block_size|index_topk|.*_budget|local_attention", LENGTH),
    (r"sliding_window_size|keep_window_size", LENGTH),
)
"""Names of numbers and what they become, the first that fits; None leaves them."""

WINDOWED = ("sliding_attention", "chunked_attention")
VARIANTS = ("full", "window")
DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
            "num_hidden_layers": LAYERS,
            "num_kv_shared_layers": LAYERS,
        }
    },
}
"""Family -> what its default config needs to be valid."""
_MLA = {"num_key_value_heads": 4}
_SWA = {"swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_q_lora_rank": 16, "swa_kv_lora_rank": 16}
_SWA |= {"swa_head_dim": 16, "swa_qk_nope_head_dim": 8, "swa_v_head_dim": 8, "swa_qk_rope_head_dim": 8}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8}
OVERRIDES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "longcat_flash", "minicpm3"), _MLA),
    **dict.fromkeys(("sarvam_mla", "youtu"), _MLA),
    **dict.fromkeys(("bamba", "granitemoehybrid"), _MAMBA),
    "blt": {"encoder_hash_byte_group_vocab": 50},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}},
    "deepseek_v2": _MLA | {"num_experts_per_tok": 2},
    # Its files count attention and perceptron as two layers.
    "dory": {"layer_types": ["sliding_attention", "mlp", "full_attention", "mlp"] * 2, "num_hidden_layers": 8}
    | {"n_input_layers": 2, "n_recurrent_layers": 4, "n_output_layers": 2},
    "dots3_note_text": _MLA | _SWA,
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 1},
    # Default: 15 of 35 layers.
    "gemma3n_text": {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gemma4_text": {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "falcon_h1": _MAMBA | {"mamba_d_ssm": 64},
    "hrm_text": {"num_hidden_layers": 2 * 2 * 4, "num_layers_per_stack": 2},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "lfm2": {"layer_types": None, "full_attn_idxs": [1, 3]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "modernbert-decoder": {"pad_token_id": tiny.END_ID},
    "nemotron": {"num_key_value_heads": 2},
    "zaya": {"num_experts_per_tok": 1},
}
"""Family -> fields whose values their names do not tell."""


@dataclass(frozen=True)
class Result:
    """What became of one family or variant: ``audited``, ``refused``, ``no tiny config`` or one of :data:`BAD`; and the
    sentence or the figures."""

    family: str
    outcome: str
    said: str

    def __str__(self) -> str:
        return f"{self.family:28} {self.outcome:16} {self.said}"


def families() -> dict[str, type]:
    """Model type -> config class, of all that ``AutoModelForCausalLM`` knows."""
    return {name: CONFIG_MAPPING[name] for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}


def trials(names: Sequence[str]) -> list[str]:
    """The families, each with the variants that its config has: ``name+full`` with full attention in all layers where
    the default has others, ``name+window`` with a window where the default has one that is switched off."""
    found = []
    for name in names:
        found.append(name)
        for variant in VARIANTS if "+" not in name else ():
            with contextlib.suppress(Exception):  # no config of a variant is no variant
                if _variant(tiny_config(name), variant) and tiny_config(f"{name}+{variant}"):
                    found.append(f"{name}+{variant}")
    return found


def tiny_config(name: str) -> Any:
    """The default config of a family, or of a variant of it, shrunk."""
    family, _, variant = name.partition("+")
    config_class = families()[family]
    defaults = config_class(**DEFAULTS.get(family, {}))
    fields = _shrunk(defaults.to_dict()) | {"pad_token_id": None}
    fields |= {"bos_token_id": tiny.END_ID, "eos_token_id": tiny.END_ID}
    fields |= OVERRIDES.get(family, {})
    return config_class(**(fields | (_variant(config_class(**fields), variant) if variant else {})))


def _variant(config: Any, variant: str) -> dict[str, Any]:
    """The fields that make the variant of a config; empty if it has none."""
    kinds = getattr(config, "layer_types", None)
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if variant == "full":
        if hasattr(config, "attention_types"):
            return {"attention_types": [[["global"], LAYERS]]}
        if kinds and set(kinds) > {"full_attention"} and set(kinds) <= {"full_attention", *WINDOWED}:
            return {"layer_types": ["full_attention"] * len(kinds)}
        return {"sliding_window": None} if windowed and not kinds else {}
    if windowed or not hasattr(config, "sliding_window"):
        return {}
    if not hasattr(config, "use_sliding_window"):
        return {"sliding_window": LENGTH}
    return {"use_sliding_window": True, "sliding_window": LENGTH, "max_window_layers": 0, "layer_types": None}


def _shrunk(fields: dict[str, Any]) -> dict[str, Any]:
    kinds = _kept_layers(fields)
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name in NOT_COPIED:
            continue
        if isinstance(value, dict):
            found[name] = _shrunk(value) if name.endswith(("_config", "parameters", "scaling")) else value
        elif isinstance(value, list) and kinds and len(value) == len(fields[_layer_list(fields)]):
            found[name] = [value[layer] for layer in kinds]
        else:
            found[name] = _size(name, value)
    return found


def _size(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int) or value in (0, -1):
        return value
    for pattern, size in SIZES:
        if re.fullmatch(pattern, name):
            return value if size is None else size
    return value


def _layer_list(fields: dict[str, Any]) -> str:
    return next(name for name in LAYER_LISTS if fields.get(name))


NOT_COPIED = (
    "model_type",
    "transformers_version",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "per_layer_config",
)
LAYER_LISTS = ("layer_types", "attention_layers", "layers_block_type", "mlp_layer_types", "no_rope_layers")


def _kept_layers(fields: dict[str, Any]) -> list[int]:
    """Indices of :data:`LAYERS` layers, every kind among them; empty if the config does not list its layers."""
    lists = [fields[name] for name in LAYER_LISTS if isinstance(fields.get(name), list) and fields[name]]
    if not lists:
        return []
    kinds = list(zip(*(one for one in lists if len(one) == len(lists[0])), strict=True))
    first = [kinds.index(kind) for kind in dict.fromkeys(kinds)][:LAYERS]
    others = [layer for layer in range(len(kinds)) if layer not in first]
    return sorted(first + others[: max(0, LAYERS - len(first))])


def tiny_model(config: Any, seed: int = 0) -> Any:
    """A random model, its matrices as uneven as those of :func:`tests.tiny.make_model`."""
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=random)
            weight.add_(0.1 * noise) if weight.ndim < 2 else weight.copy_(noise * 1.5 / weight.shape[-1] ** 0.5)
    return model.eval()


def save_pair(config: Any, folder: Path) -> tuple[Path, Path]:
    """Two such models, the second a noisy copy of the first, as folders with the tests' tokenizer."""
    target = tiny_model(config)
    with torch.inference_mode():
        target(torch.tensor([[5, 6, 7]]))  # a config with which nothing can be run is no valid one
    for name, model in (("target", target), ("draft", tiny.perturbed(target))):
        model.save_pretrained(folder / name)
        tiny.make_tokenizer().save_pretrained(folder / name)
    return folder / "target", folder / "draft"


def try_family(family: str) -> Result:
    """Make the pair, load it as a user would, and run an audited decode."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            config = None
            try:
                config = tiny_config(family)
                target, draft = save_pair(config, Path(folder))
            except Exception as error:
                # What its config alone gets refused needs no weights to show it.
                with contextlib.suppress(NO_CONFIG):
                    check_config(config or families()[family.partition("+")[0]](), family)
                return Result(family, "no tiny config", _first_line(error))
            return audited_run(family, target, draft)
        except SpecvizError as refusal:
            return Result(family, "refused", str(refusal))
        except Exception:
            return Result(family, "traceback", "\n" + traceback.format_exc(limit=-6))


def audited_run(family: str, target: Path, draft: Path) -> Result:
    """Load the two folders and audit every step of a short run."""
    pair = load_pair(str(target), str(draft), device="cpu")
    settings = Settings(
        builder=Choice(name="k_config", options={"tree": "3,2,1"}),
        verifiers=(Choice(name="rejection"), Choice(name="traversal")),
        driver="rejection",
        max_new_tokens=32,
        audit=True,
    )
    steps = list(Session(pair, settings, PROMPT).run(STEPS))
    limits = tolerances(pair.models)
    found: dict[str, list[float]] = {"target": [], "draft": []}
    for step in steps:
        for name, change in (("target", step.caches.target), ("draft", step.caches.draft)):
            assert change.audit is not None
            found[name].append(change.audit.worst())
    within = all(value <= limits[name] for name, values in found.items() for value in values)  # NaN is not
    figures = ", ".join(f"{name} {max(values):.1e}" for name, values in found.items())
    return Result(family, "audited" if within else "beyond tolerance", f"{len(steps)} steps, worst {figures}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:150]}"


def _child(family: str, answer: Any) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
    with contextlib.redirect_stderr(open(os.devnull, "w")):
        answer.send(try_family(family))


def in_a_process(family: str) -> Result:
    """:func:`try_family`, wherever it ends."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(family, sender), daemon=True)
    process.start()
    sender.close()
    result = None
    with contextlib.suppress(EOFError):
        result = receiver.recv() if receiver.poll(SECONDS) else None
    if result is None:
        why = f"it took more than {SECONDS} s" if process.is_alive() else "its process ended"
        result = Result(family, "no answer", why)
    process.kill()
    process.join()
    return result


def run(names: Sequence[str], processes: int) -> Iterator[Result]:
    """The results in order, as they come."""
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(in_a_process, names)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.families", description=__doc__.splitlines()[0])
    parser.add_argument("family", nargs="*", help="model types; all of them by default")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    if strangers := sorted({name.partition("+")[0] for name in options.family} - set(families())):
        parser.error(f"transformers knows no causal family {', '.join(strangers)}")
    results = []
    for result in run(trials(options.family or list(families())), options.processes):
        print(result, flush=True)
        results.append(result)
    for what, variants in (("families", False), ("variants", True)):
        counts = Counter(result.outcome for result in results if ("+" in result.family) == variants)
        print(f"{counts.total()} {what}: {', '.join(f'{count} {outcome}' for outcome, count in counts.most_common())}")
    return int(any(result.outcome in BAD for result in results))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)  # configs that are shrunk have token ids beyond their vocabularies
    sys.exit(main())
