"""What kind of files a model's folder or repository holds, from their names and first bytes, before they are loaded.

Each kind that is not a model transformers can read has one sentence that says what it is and what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from specviz.errors import ModelError, shown

CONFIG, ADAPTER_CONFIG, INDEX = "config.json", "adapter_config.json", "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that git-lfs left in place of one it did not fetch."""
READ_ENDS = (".json", ".safetensors", ".model", ".txt", ".jinja")
NUMBERED = re.compile(r"model-\d+-of-(\d+)\.safetensors")
MOST_INDEX_BYTES = 64 * 1024 * 1024


def is_adapter(names: Collection[str]) -> bool:
    """Whether these files are an adapter without a model that it changes."""
    return ADAPTER_CONFIG in names and not (CONFIG in names and _weights(names))


def check_names(names: Collection[str], what: str) -> None:
    """Refuse files that are no model in safetensors.

    Args:
        names: of the files, without folders below.
        what: how a sentence about them begins, such as ``The folder 'x'``.

    Raises:
        ModelError: that says what they are.
    """
    if ADAPTER_CONFIG in names:
        raise ModelError(
            f"{what} holds a model and beside it an adapter ({ADAPTER_CONFIG}), and nothing says whether that is "
            f"merged already; remove the {ADAPTER_CONFIG} if it is, or merge it first."
        )
    others = _weights(names) or any(name.endswith(".bin") for name in names)
    if not others and (gguf := sorted(name for name in names if name.lower().endswith(".gguf"))):
        raise ModelError(
            f"{what} holds GGUF weights only ({gguf[0][:80]}), and specviz reads safetensors; choose the model they "
            "were made from, or convert them with transformers' from_pretrained(folder, gguf_file=...) and "
            "save_pretrained."
        )
    if CONFIG not in names:
        raise ModelError(f"{what} has no {CONFIG}; choose one that save_pretrained wrote.")


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be read as a model.

    Raises:
        ModelError: that says what is there instead, or what is lost.
    """
    what = f"The folder {shown(str(folder), 200)}"
    names = {path.name for path in folder.iterdir() if path.is_file()}
    check_names(names, what)  # first: in a folder that is no model's nothing is opened
    if pointers := sorted(name for name in names if name.endswith(READ_ENDS) and _is_pointer(folder / name)):
        raise _pointer_error(what, pointers[0])
    if not _weights(names):
        raise ModelError(f"{what} has no safetensors weights; save it with safetensors first.")
    if "model.safetensors" not in names:
        _check_shards(folder, names, what)


def check_saved_quantization(config: Any, name: str) -> None:
    """Refuse weights that were saved in a way transformers knows nothing of: it would read them as plain numbers.

    Raises:
        ModelError: that names the way.
    """
    saved = getattr(config, "quantization_config", None)
    if saved is None and isinstance(getattr(config, "quantization", None), dict):
        saved = config.quantization  # as MLX writes it, without naming a method
    if saved is None:
        return
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    saved = saved if isinstance(saved, dict) else saved.to_dict()
    method = saved.get("quant_method")
    method = str(getattr(method, "value", method) or "")
    if not method and not saved.get("load_in_8bit") and not saved.get("load_in_4bit"):
        raise ModelError(
            f"{name} has weights in a format without a name, as MLX saves them, which transformers cannot read; choose "
            "the model they were made from, or another conversion of it."
        )
    if method and method != "bitsandbytes" and method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        raise ModelError(
            f"{name} has weights in the format {shown(method)}, which transformers cannot read; choose the model they "
            "were made from, or another conversion of it."
        )


def tokenizer_error(source_name: str, place: str, error: BaseException) -> ModelError | None:
    """The sentence for a tokenizer that transformers did not read, where it is about its files; None for others.

    Args:
        place: a folder, or anything else where its files are not known.
    """
    folder = Path(place)
    text = str(error).lower()
    made = "backend tokenizer" in text or "sentencepiece" in text or "tiktoken" in text
    if not made or "custom code" in text or "trust_remote_code" in text or (folder / "tokenizer.json").is_file():
        return None
    slow = [
        name for name in ("tokenizer.model", "spiece.model", "vocab.txt", "vocab.json") if (folder / name).is_file()
    ]
    if slow or not folder.is_dir():
        has = f"has {slow[0]} and no fast tokenizer" if slow else "has no fast tokenizer"
        return ModelError(
            f"{source_name} {has} (tokenizer.json), and none could be made of it here; save one with AutoTokenizer's "
            "from_pretrained and save_pretrained where sentencepiece and tiktoken are installed, or choose another "
            "model."
        )
    return ModelError(
        f"{source_name} has no tokenizer (tokenizer.json); copy the one of the model that it was made from into it."
    )


def _weights(names: Collection[str]) -> bool:
    return any(name.endswith(".safetensors") and not name.startswith("adapter_") for name in names)


def refuse_pointer(path: Path, what: str) -> None:
    """Refuse a file of weights that git-lfs did not fetch.

    Raises:
        ModelError: in one sentence, if it is one.
    """
    if _is_pointer(path):
        raise _pointer_error(what, path.name)


def _pointer_error(what: str, file: str) -> ModelError:
    return ModelError(
        f"{what} has only a pointer of git-lfs in place of {file[:80]}; run 'git lfs pull' in it, or download the "
        "model again."
    )


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(POINTER)) == POINTER
    except OSError:
        return False


def _check_shards(folder: Path, names: Collection[str], what: str) -> None:
    """See that every file is there among which the weights are divided."""
    numbered = {name: int(found[1]) for name in names if (found := NUMBERED.fullmatch(name))}
    if INDEX not in names:
        if numbered:
            raise ModelError(f"{what} has weights in {max(numbered.values())} parts and no {INDEX}; download it again.")
        return
    try:
        if (folder / INDEX).stat().st_size > MOST_INDEX_BYTES:
            raise ValueError
        wanted = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        lost = sorted(str(name) for name in wanted if name not in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{what} has a damaged {INDEX}; download it again.") from None
    if lost:
        raise ModelError(
            f"{what} lacks {len(lost)} of the {len(wanted)} files with its weights (such as {lost[0][:80]}); download "
            "or copy them again."
        )
