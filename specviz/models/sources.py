"""Where a model comes from (the built-in pair, a folder, the Hugging Face hub), and a sentence for each way to fail.

Nothing but metadata and configs is read here. On the hub every name is resolved to a commit first, so that all files
of a model belong together, and so that one short request shows whether the hub can be reached at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from specviz.display import printable
from specviz.errors import ModelError, plain, shown
from specviz.models import default_pair
from specviz.models.adapters import base_of
from specviz.models.checkpoints import CONFIG, check_folder, check_names, is_adapter
from specviz.models.download_cache import ProgressCallback
from specviz.trace.schema import ModelInfo, Origin

Role = Literal["target", "draft"]

DEFAULT = "default"
HUB_ID = re.compile(r"(?!.*(?:\.\.|--))[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95})?")
REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")
"""A branch, tag, pull request or commit. It becomes a part of addresses and of file names in the hub's cache."""
SECONDS_FOR_THE_HUB = 10.0
READ = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
NOT_READ = ["*/*", "consolidated*"]
"""Other forms of the same weights that some repositories carry."""
CONVERTER = "SFconvertbot"
"""Account under which the hub opens pull requests with converted weights."""


PICKLED = ("pytorch_model.bin", "medusa_lm_head.pt")
"""How pickles are called in which draft heads lie on the hub."""
FOLDER_NOTE = "a local folder"
_FOLDER = " (a folder: write its path here)"
_FOLDER_OR_HUB = " (a folder or of the hub? write its path, or its id there)"


@dataclass(frozen=True)
class Source:
    """What to hand to ``from_pretrained``, and how to name it."""

    name: str
    """For messages and traces; of a folder its last part only, because traces are shared."""
    place: str
    """A folder, or a hub id."""
    revision: str | None = None
    """The commit, on the hub; of the built-in draft a hash of its weights."""
    local_only: bool = True
    """Whether no request may be made."""
    note: str | None = None
    kind: Origin = "hub"
    adapter: str | None = None
    """The folder of an adapter that is merged into what is at ``place``."""
    pickled: bool = False
    """Whether its weights are a pickle, which only a draft head may have."""

    @property
    def built_in(self) -> bool:
        """Whether this is one of the default pair."""
        return self.kind == "built-in"

    def arguments(self) -> dict[str, Any]:
        """What every ``from_pretrained`` gets: this revision, no code of the model's own."""
        arguments: dict[str, Any] = {"local_files_only": self.local_only, "trust_remote_code": False}
        return arguments | ({"revision": self.revision} if self.revision and not self.built_in else {})


def find_source(name: str, role: Role, progress: ProgressCallback) -> Source:
    """The source of ``name``: ``default``, a folder, or a hub id with or without ``@revision``.

    Raises:
        ModelError: if there is no such model, or it may not or cannot be fetched.
    """
    name = name.strip()
    if said := unplaced(name, role):
        raise ModelError(said)
    if role == "target" and name in (DEFAULT, default_pair.TARGET_NAME):
        place = str(default_pair.ensure_target(progress))
        return Source(default_pair.TARGET_NAME, place, note=default_pair.TARGET_NOTE, kind="built-in")
    if role == "draft" and name in (DEFAULT, default_pair.DRAFT_NAME):
        folder = default_pair.ensure_draft(progress)
        version = folder.name.removeprefix(default_pair.DRAFT_FOLDER)
        return Source(default_pair.DRAFT_NAME, str(folder), version, note=default_pair.DRAFT_NOTE, kind="built-in")
    if is_folder(name):
        folder = Path(name).expanduser()
        names = _names(folder)
        if is_adapter(names):
            return adapter_source(folder, role, progress)
        if role == "draft" and _may_be_pickled_head(names):
            return Source(folder.resolve().name, str(folder), note=FOLDER_NOTE, kind="folder", pickled=True)
        return folder_source(folder)
    id, at, revision = name.partition("@")
    if not HUB_ID.fullmatch(id) or (at and not REVISION.fullmatch(revision)):
        raise ModelError(
            f"There is no folder {shown(name)}, and it is no hub id; write an existing folder, owner/name or "
            "owner/name@revision."
        )
    progress(f"Looking up {id}", None)
    return hub_source(id, revision or None, role)


def as_typed(model: ModelInfo, role: Role) -> str:
    """What a form says for a recorded model, or, where only a person knows, a text that :func:`unplaced` asks about.

    A folder's name is never filled in: here another folder may have it, or a repository of the hub.
    """
    kind = model.source
    if kind is None:  # recorded before specviz said so
        notes: dict[str | None, Origin] = {FOLDER_NOTE: "folder"}
        notes |= dict.fromkeys((default_pair.TARGET_NOTE, default_pair.DRAFT_NOTE), "built-in")
        kind = notes.get(model.note, "hub" if "/" in model.id else None)
    built_in = {"target": default_pair.TARGET_NAME, "draft": default_pair.DRAFT_NAME}
    if kind == "built-in" and model.id == built_in[role]:
        return DEFAULT
    id, at, revision = model.id.partition("@")
    # Any file can say that a path is of the hub; a name that could be one is asked for.
    if kind == "hub" and HUB_ID.fullmatch(id) and (not at or REVISION.fullmatch(revision)):
        return model.id
    return printable(" ".join(model.id.split()), keep="")[:120] + (_FOLDER if kind == "folder" else _FOLDER_OR_HUB)


def unplaced(name: str, role: Role) -> str | None:
    """The sentence that asks where a recorded model is, if ``name`` stands for one of which only a person knows."""
    if name.endswith(_FOLDER):
        return (
            f"The {role} of this run was in a folder called {plain(name.removesuffix(_FOLDER), 80)}; write the path of "
            f"that folder as {role} model under Settings."
        )
    if name.endswith(_FOLDER_OR_HUB):
        return (
            f"This run does not say whether its {role} {plain(name.removesuffix(_FOLDER_OR_HUB), 80)} was a folder or "
            f"came from the hub; write the folder's path, or its id on the hub, as {role} model under Settings."
        )
    return None


def folder_source(folder: Path) -> Source:
    """A folder that ``save_pretrained`` wrote."""
    check_folder(folder)
    return Source(folder.resolve().name, str(folder), note=FOLDER_NOTE, kind="folder")


def adapter_source(folder: Path, role: Role, progress: ProgressCallback) -> Source:
    """A folder with an adapter: the model that it changes, into which it is merged.

    Raises:
        ModelError: if it cannot be merged, or that model cannot be found.
    """
    base = base_of(folder)
    name = folder.resolve().name
    if is_folder(base) and is_adapter(_names(Path(base).expanduser())):
        raise ModelError(f"{name} is an adapter of an adapter ({shown(base)}); merge them yourself first.")
    try:
        source = find_source(base, role, progress)
    except ModelError as error:
        raise ModelError(f"{name} is an adapter, and the model that it changes is not here: {error}") from error
    return replace(source, name=name, note=f"an adapter, merged into {source.name}", adapter=str(folder), kind="folder")


def hub_source(id: str, revision: str | None, role: Role = "target") -> Source:
    """A hub id at a commit. Where the hub cannot be reached, or must not be, whatever was downloaded before.

    Pickled weights are refused: a pickle is a program. For repositories of old the hub's own converter has opened a
    pull request with the same weights as safetensors, which is then what is read. Those of a draft may turn out to be a
    head's, of which torch's reader for weights only makes tensors and nothing else; else see :func:`without_pickles`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    name = _with_revision(id, revision)
    try:
        info = HfApi().model_info(id, revision=revision, timeout=SECONDS_FOR_THE_HUB)
        names = {file.rfilename for file in info.siblings or ()}
        if is_adapter(names):
            raise ModelError(
                f"{name} is an adapter and no model; download it into a folder ('hf download {id} --local-dir FOLDER') "
                "and give that, or choose a whole model."
            )
        check_names(names | {CONFIG}, name)
        pickled = role == "draft" and _may_be_pickled_head(names)
        place = info.sha if pickled or _has_safetensors(info) else _converted(HfApi(), id)
    except ModelError:
        raise
    except Exception as error:
        if isinstance(error, HfHubHTTPError) or not _is_network(error):
            raise load_error(error, name) from error
        return Source(name, id, revision=revision, local_only=True)
    if place is None:
        raise _pickled(id)
    # A commit and not "main": asked for safetensors of "main", transformers may have the hub convert a repository.
    return Source(name, id, revision=place, local_only=False, pickled=pickled)


def without_pickles(source: Source) -> Source:
    """The source of a draft that is no head after all: where its weights are safetensors.

    Raises:
        ModelError: if there are none.
    """
    if not source.pickled:
        return source
    if source.kind == "folder":
        check_folder(Path(source.place))
    from huggingface_hub import HfApi

    try:
        place = _converted(HfApi(), source.place)
    except Exception as error:
        raise load_error(error, source.name) from error
    if place is None:
        raise _pickled(source.place)
    return replace(source, revision=place, pickled=False)


def fetch_files(source: Source, progress: ProgressCallback) -> None:
    """Download what ``from_pretrained`` will read of a source on the hub; the others are here already.

    Raises:
        ModelError: if it cannot be fetched.
    """
    if source.local_only:
        return
    from huggingface_hub import snapshot_download

    progress(f"Downloading {source.name}", None)
    try:
        patterns = [*READ, *PICKLED] if source.pickled else READ
        snapshot_download(source.place, revision=source.revision, allow_patterns=patterns, ignore_patterns=NOT_READ)
    except Exception as error:
        raise load_error(error, source.name) from error


def _pickled(id: str) -> ModelError:
    return ModelError(
        f"{id} has no safetensors weights, and specviz reads no others; convert it with "
        "https://huggingface.co/spaces/safetensors/convert, or choose another model."
    )


def _may_be_pickled_head(names: Collection[str]) -> bool:
    """Whether these are the files of a model or a head as one pickle, of which only a head is read."""
    return CONFIG in names and not any(name.endswith(".safetensors") for name in names) and bool({*PICKLED} & {*names})


def _converted(hub: Any, id: str) -> str | None:
    """The pull request in which the hub's converter offers the weights as safetensors, as a revision; None for none."""
    for found in hub.get_repo_discussions(id, author=CONVERTER, discussion_type="pull_request"):
        if _has_safetensors(hub.model_info(id, revision=found.git_reference, timeout=SECONDS_FOR_THE_HUB)):
            return str(found.git_reference)
    return None


def _has_safetensors(info: Any) -> bool:
    return any(file.rfilename.endswith(".safetensors") for file in info.siblings or ())


def load_error(error: BaseException, name: str) -> ModelError:
    """The sentence for whatever transformers or the hub raised while ``name`` was looked up or loaded."""
    from huggingface_hub import errors

    causes = list(_causes(error))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if caused_by(errors.GatedRepoError):
        return ModelError(
            f"{name} is gated; accept its licence on https://huggingface.co/{name.partition('@')[0]} and log in with "
            "'hf auth login', then try again."
        )
    if caused_by(errors.RevisionNotFoundError):
        return ModelError(f"{name} has no such revision; check what comes after the @.")
    if caused_by(errors.RepositoryNotFoundError):
        return ModelError(
            f"There is no model {name} on the hub, or it is private; check the spelling, or log in with 'hf auth "
            "login'."
        )
    if caused_by(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) or any(map(_is_network, causes)):
        return ModelError(
            f"{name} is not on this machine and the hub cannot be reached; check the network connection, or choose the "
            "default models or a local folder."
        )
    if caused_by(errors.HfHubHTTPError):
        return ModelError(f"The hub refused to hand out {name}; try again later, or choose a local folder.")
    text = str(error)
    if "trust_remote_code" in text or "custom code" in text:
        return ModelError(f"{name} needs code of its own, which specviz never runs; choose a model transformers knows.")
    if "model type" in text or "model_type" in text:
        return ModelError(f"transformers does not know the kind of model that {name} is; update it or choose another.")
    if isinstance(error, ImportError):
        return ModelError(
            f"{name} needs a package that is not installed ({text.strip().splitlines()[0][:150]}); install it, or "
            "choose another model."
        )
    first = (text.strip().splitlines() or [type(error).__name__])[0][:200]
    return ModelError(f"{name} could not be loaded ({first}); check its files, or choose another model.")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def is_folder(name: str) -> bool:
    """Whether there is a folder of this name, whatever the name is."""
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):
        return False


def _with_revision(id: str, revision: str | None) -> str:
    return f"{id}@{revision}" if revision else id


def _is_network(error: BaseException) -> bool:
    """Whether this is about reaching the hub. Its HTTP client differs between versions, so classes are told by name."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "Timeout", "TimeoutError", "gaierror"})


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything it was raised from; transformers wraps the hub's errors."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
