"""Compiles the pretended card, once for each version of its source, of torch and of the compiler's arguments."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("pretended_card.cpp")
# Nothing of it is worth optimizing: the kernels are those of the CPU.
ARGUMENTS = ("-shared", "-fPIC", "-O0", "-g0", "-w", "-std=c++20")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "specviz" / "tests"


class Unavailable(Exception):
    """Why there can be no pretended card here, in one sentence."""


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


def lacks_compiler() -> bool:
    """Whether all that is missing for the pretended card can be installed here."""
    return _compiler() is None and not torch.version.cuda and not torch.version.hip


def library() -> Path:
    """The shared library; compiled if it was not before.

    Raises:
        Unavailable: without a compiler or torch's headers, or with a torch that has kernels for CUDA itself.
    """
    torch_folder = Path(torch.__file__).parent
    include, libraries = torch_folder / "include", torch_folder / "lib"
    if torch.version.cuda or torch.version.hip:
        raise Unavailable("this torch has CUDA kernels of its own; the pretended card needs a CPU build of torch")
    if not (include / "ATen" / "core" / "Tensor.h").is_file():
        raise Unavailable("this torch comes without its C++ headers; the pretended card needs them")
    compiler = _compiler()
    if compiler is None:
        raise Unavailable("there is no C++ compiler; install g++ for the pretended card")
    parts = (SOURCE.read_text(encoding="utf-8"), torch.__version__, torch.version.git_version, str(ARGUMENTS), compiler)
    place = CACHE / f"card-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.so"
    if place.is_file():
        return place
    CACHE.mkdir(parents=True, exist_ok=True)
    fresh = place.with_suffix(f".{os.getpid()}")  # two processes may compile at the same time
    told = [compiler, *ARGUMENTS, f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    told += [f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}", str(SOURCE), "-o", str(fresh)]
    told += [f"-L{libraries}", "-ltorch_cpu", "-lc10"]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the pretended card does not compile with torch {torch.__version__}:\n{done.stderr}")
    fresh.replace(place)
    return place
