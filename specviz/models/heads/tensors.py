"""The tensors of a draft head, from a folder that somebody else made.

Heads lie on the hub as safetensors or, most of the older ones, as the pickle of a state dict (``pytorch_model.bin``). A
pickle is a program, so it is read by torch's reader that builds tensors and plain containers only
(``weights_only=True``); a file it refuses is refused here. Nothing is allocated that the file does not hold: tensors
are mapped from the file, its parts may not be compressed, and a tensor must be as large as its shape says.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from specviz.errors import ModelError, plain, shown
from specviz.models.checkpoints import refuse_pointer
from specviz.models.sources import PICKLED as PICKLES

Shapes = Mapping[str, tuple[int, ...]]


def read_shapes(folder: Path, pickles: tuple[str, ...] = PICKLES) -> dict[str, tuple[int, ...]]:
    """Name -> shape of all tensors in a folder, without reading their numbers. See :func:`read_tensors`."""
    return {name: tuple(tensor.shape) for name, tensor in read_tensors(folder, pickles).items()}


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of a head's tensors, each with one dimension at least.

    Raises:
        ModelError: if one is a single number, which none of a head's is.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name, shape in shapes.items():
        if not shape:
            raise ModelError(
                f"The draft head's {shown(name)} is a single number; download it again, or choose another head."
            )
    return shapes


def read_tensors(folder: Path, pickles: tuple[str, ...] = PICKLES) -> dict[str, torch.Tensor]:
    """Name -> tensor, mapped from the files: the numbers are read when they are used.

    Args:
        pickles: names of files that may be pickles; the first that is there is read where there are no safetensors.

    Raises:
        ModelError: if there is no file with weights, or it is broken or no list of tensors.
    """
    name = plain(folder.name)
    if files := sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("consolidated")):
        tensors: dict[str, torch.Tensor] = {}
        for path in files:
            found = _from_safetensors(path, name)
            for key in sorted(found.keys() & tensors.keys()):
                if not _equal(found[key], tensors[key]):
                    raise ModelError(
                        f"{name} has {shown(key)} in two of its files, with other numbers in each; leave the file that "
                        "is meant, or download it again."
                    )
            tensors |= found
    elif pickle := next((path for file in pickles if (path := folder / file).is_file()), None):
        tensors = from_pickle(pickle)
    else:
        raise ModelError(
            f"{name} has no weights (model.safetensors, or {pickles[0]}); download it again, or choose another head."
        )
    return tensors


def renamed(tensors: Mapping[str, torch.Tensor], rename: Callable[[str], str]) -> dict[str, torch.Tensor]:
    """The tensors by the names that ``rename`` makes of theirs.

    Raises:
        ModelError: if two become one: nothing says which of them is meant.
    """
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if (new := rename(name)) in found:
            raise ModelError(
                f"The draft head has {shown(new)} twice, under two names; download it again, or choose another head."
            )
        found[new] = tensor
    return found


def without_model(name: str) -> str:
    """A tensor's name without the ``model.`` that some files write before it."""
    return name.removeprefix("model.")


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


def _from_safetensors(path: Path, name: str) -> dict[str, torch.Tensor]:
    from safetensors import safe_open

    refuse_pointer(path, name)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it has no other way to ask)
    except Exception as error:
        raise ModelError(f"{name} has a broken {path.name[:80]}; download it again.") from error


def from_pickle(path: Path) -> dict[str, torch.Tensor]:
    """Name -> tensor of a pickled state dict, by torch's reader for weights only.

    Raises:
        ModelError: if that reader refuses it, or it holds anything but tensors.
    """
    name = plain(path.parent.name)
    again = "save its tensors as model.safetensors, or choose another head."
    refuse_pointer(path, name)
    try:
        with zipfile.ZipFile(path) as packed:
            if any(part.compress_type != zipfile.ZIP_STORED for part in packed.infolist()):
                raise ModelError(f"{name} has a {path.name} with compressed parts, which torch does not write; {again}")
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"{name} has a {path.name} that torch.save of today did not write; {again}") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ModelError(
            f"{name} has a {path.name} with more than plain tensors, which would be run as a program; {again}"
        ) from error
    if not isinstance(loaded, dict):
        raise ModelError(f"{name} has a {path.name} that is no dict of tensors; {again}")
    size = path.stat().st_size
    tensors: dict[str, torch.Tensor] = {}
    for key, tensor in loaded.items():
        dense = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not isinstance(key, str) or not dense or not tensor.is_contiguous() or tensor.nbytes > size:
            raise ModelError(f"{name} has {shown(key)} in its {path.name}, which is no plain tensor; {again}")
        tensors[key] = tensor.detach()
    return tensors
