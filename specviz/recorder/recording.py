"""Writing a recording: JSON lines, appended and flushed one by one; :mod:`specviz.trace.recording` reads them.

With ``rows=True`` whole rows go to a folder beside it, ``run.jsonl.rows``: one file a step, ``REQUEST-STEP.npz``, with
the number of the request in the recording and of the step, both from 0 on. It holds, as far as they were said, float16
``p``, ``q`` (processed rows), ``p_logits``, ``q_logits``, ``bonus_row``, and the whole numbers ``p_nodes``, ``q_nodes``
(whose rows they are) and ``vocabulary`` (the target's ids of the draft's columns). Nothing in it is pickled:
``numpy.load(path, allow_pickle=False)`` reads it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import uuid
import weakref
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

import numpy as np

from specviz import __version__
from specviz.recorder.claim import ROWS, Claim, cannot_write
from specviz.recorder.raw_step import RawStep
from specviz.trace.io import write_file
from specviz.trace.recording import End, Header, Line, Run
from specviz.trace.recording import read_recording as read_recording
from specviz.trace.recording import read_recordings as read_recordings
from specviz.trace.schema import FailedStep, Step


def new_id() -> str:
    """An id for a recording."""
    return uuid.uuid4().hex[:16]


class RecordingFile:
    """A recording that is being written.

    Args:
        path: a recording that is there is renamed, see :class:`specviz.recorder.claim.Claim`; None: kept in memory.
        id: of the recording, see :func:`new_id`.

    Attributes:
        steps: how many are in it, those that failed among them, of all requests.

    Raises:
        SettingsError: if it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None, id: str):
        self.steps = 0
        self.path = None if path is None else Path(path)
        self._end = 0
        self._file: BinaryIO = io.BytesIO()
        self._claim = None if self.path is None else Claim(self.path)
        if self._claim is not None:
            self._file = self._claim.file
            weakref.finalize(self, self._claim.close)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        header = Header(specviz_recording=1, created=created, specviz_version=__version__, id=id)
        try:
            self._write(header.model_dump_json().encode())
        except OSError as error:  # a full disk
            self.close()
            raise cannot_write(self.path or Path(), error) from None

    def add(self, request: str | None, part: Run | Step | FailedStep | End) -> None:
        """Append a line.

        Raises:
            OSError: if it cannot be written; nothing of it is in the file then.
        """
        kind = {Run: "run", Step: "step", FailedStep: "failed", End: "end"}[type(part)]
        # What a field is when it is left out is what it is here.
        value = part.model_dump_json(exclude_defaults=True)
        self._write(f'{{"request":{json.dumps(request)},"{kind}":{value}}}'.encode())
        self.steps += kind in ("step", "failed")

    def _write(self, line: bytes) -> None:
        whole = self._end
        try:
            # One call, and no buffer of ours in between: what a killed process wrote is in the file.
            left = memoryview(line + b"\n")
            while left:
                left = left[self._file.write(left) :]
        except BaseException:  # an interrupt, too, leaves whole lines behind
            with contextlib.suppress(OSError):  # what is no file on a disk; the first error is the one to tell
                self._file.seek(whole)
                self._file.truncate()
            raise
        self._end = whole + len(line) + 1

    def add_rows(self, number: int, raw: RawStep) -> None:
        """Write the whole rows of a step, beside the recording.

        Raises:
            OSError: if they cannot be written.
        """
        if self.path is None:
            return
        arrays: dict[str, np.ndarray] = {}
        for name in ("p", "q", "p_logits", "q_logits", "bonus_row"):
            rows = getattr(raw, name)
            if rows is not None:
                with np.errstate(over="ignore"):
                    arrays[name] = rows.astype(np.float16)
        for name in ("p_nodes", "q_nodes", "vocabulary"):
            if getattr(raw, name) is not None:
                arrays[name] = np.asarray(getattr(raw, name), dtype=np.int64)
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **arrays)
        write_file(Path(f"{self.path}{ROWS}") / f"{number}-{raw.index}.npz", packed.getvalue())

    def read(self) -> bytes:
        """All that was written so far."""
        if isinstance(self._file, io.BytesIO):
            return self._file.getvalue()
        assert self.path is not None
        return self.path.read_bytes()

    def close(self) -> None:
        if self._claim is not None:
            self._claim.close()


__all__ = ["Line", "RecordingFile", "read_recording", "read_recordings"]
