"""Weights in 8 or 4 bit through bitsandbytes, on CUDA and on the CPU."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch

from specviz.errors import ModelError, SettingsError, shown
from specviz.models.choices import QUANTIZATIONS

DEVICES = ("cpu", "cuda")
"""Kinds of device that quantized weights run on."""
OUTLIERS = 0.0
"""int8 without the separate columns for outliers (usually from 6.0 on). They are chosen for all rows of a forward
together: a node's logits then depend on which other nodes are scored with it, and to score a tree is not to score its
paths. Measured on the default target, 62 forwards of one or three rows against one forward of all: with 6.0 every one
of them gives other logits (0.07 apart in total variation in the median, 0.34 at most); with 0 seven of eight give the
same, the others are up to 0.14 apart, see ``INT8`` in
:mod:`specviz.trace.metrics`. The price there is a mean KL to float32
of 0.078 instead of 0.042."""


def check_quantization(quantization: str, device: torch.device, name: str) -> None:
    """Refuse what cannot be quantized here, before anything is loaded.

    Raises:
        SettingsError: for an unknown quantization, or one this kind of device has not.
        ModelError: if bitsandbytes is not installed.
    """
    if quantization not in QUANTIZATIONS:
        raise SettingsError(f"There is no quantization {shown(quantization)}; choose from {', '.join(QUANTIZATIONS)}.")
    if quantization == "none":
        return
    if device.type not in DEVICES:
        raise SettingsError(f"Quantized models run on CUDA and on the CPU, not on {device.type}; choose none or cpu.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"{name} in {quantization} needs bitsandbytes, which is not installed; run 'pip install bitsandbytes', or "
            "choose no quantization."
        )


def why_unusable(quantization: str, device: torch.device) -> str | None:
    """Why bitsandbytes cannot compute here: what it says when it is asked for a small product; None if it gives one.

    It brings a library for each version of CUDA, and that there is none for this one shows when it is used.
    """
    if quantization == "none":
        return None
    _hush()
    try:
        from bitsandbytes.nn import Linear4bit, Linear8bitLt

        if quantization == "int8":
            layer = Linear8bitLt(64, 64, has_fp16_weights=False, threshold=OUTLIERS)
        else:
            layer = Linear4bit(64, 64, quant_type="nf4", compute_dtype=torch.bfloat16)
        with torch.inference_mode():
            layer.to(device)(torch.ones(1, 64, dtype=torch.bfloat16, device=device)).cpu()
    except Exception as error:
        return f"bitsandbytes cannot compute in {quantization} on {device.type} here: {shown(error, 300)}"
    return None


def quantization_config(quantization: str, dtype: torch.dtype) -> Any:
    """The ``BitsAndBytesConfig`` for ``int8`` or ``nf4``, None for ``none``.

    nf4 is what QLoRA uses: double quantization, products computed in ``dtype``. int8 has the threshold
    :data:`OUTLIERS`.
    """
    if quantization == "none":
        return None
    from transformers import BitsAndBytesConfig

    _hush()
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=OUTLIERS)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def keep_products_exact(model: torch.nn.Module) -> None:
    """Have 4-bit products computed in the model's number format, as :func:`quantization_config` asks for.

    On a CPU with AVX-512 BF16 bitsandbytes (0.50) computes them in bfloat16 whatever it was asked for, and lays the
    weights out anew for that in the first forward. Measured there on the default target in float32: keys and values of
    a step up to 1.5e-2 away from a recompute, and 2e-6 without.
    """
    for module in model.modules():
        if hasattr(module, _BFLOAT16_PRODUCTS):
            setattr(module, _BFLOAT16_PRODUCTS, False)


_BFLOAT16_PRODUCTS = "support_avx512bf16_for_cpu"


def keep_rows_apart(model: torch.nn.Module) -> None:
    """Set the outlier threshold of int8 layers to :data:`OUTLIERS`.

    A checkpoint that was saved in 8 bit brings its own, usually 6.
    """
    for module in model.modules():
        state: Any = getattr(module, "state", None)
        if isinstance(getattr(state, "threshold", None), (int, float)):
            state.threshold = OUTLIERS
            state.use_pool = False


def quantization_note(config: Any) -> str | None:
    """What is not done with quantized weights although their files ask for it; None for nothing."""
    settings = _settings(config)
    threshold = settings.get("llm_int8_threshold")
    if settings.get("load_in_8bit") and threshold != OUTLIERS:
        return f"outlier threshold {threshold:g} of its files set to {OUTLIERS:g}"
    return None


def quantization_name(config: Any) -> str | None:
    """What the weights of a loaded model are quantized with, by its config; None for plain weights."""
    settings = _settings(config)
    if not settings:
        return None
    method = settings.get("quant_method", "unknown")
    method = str(getattr(method, "value", method))
    if settings.get("load_in_8bit"):
        return f"{method} int8"
    if settings.get("load_in_4bit"):
        return f"{method} {settings.get('bnb_4bit_quant_type', '4 bit')}"
    return method


def _settings(config: Any) -> dict[str, Any]:
    settings = getattr(config, "quantization_config", None)
    return dict(settings if isinstance(settings, dict) else settings.to_dict()) if settings is not None else {}


def _hush() -> None:
    """int8 products are taken of float16 inputs; bitsandbytes says so in every one of them."""
    logger = logging.getLogger("bitsandbytes.autograd._functions")
    if not any(isinstance(known, _CastNotice) for known in logger.filters):
        logger.addFilter(_CastNotice())


class _CastNotice(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "inputs will be cast" not in record.getMessage()
