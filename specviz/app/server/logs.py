"""Logs for machines and people: one JSON object a line, and nothing in it that a visitor has typed.

What an exception says may quote a prompt, so by default a line has its type and the frames it came through, without its
words. ``SPECVIZ_LOG_PROMPTS=1`` adds them, and the prompts of runs.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any, TextIO

PROMPTS = "SPECVIZ_LOG_PROMPTS"
SAME_SECONDS = 60.0
SAME_LINES = 3
"""Of lines that say the same within so many seconds these are written; the next one says how many more came."""
SAME_EVENTS = 60
"""The same for events of one name, such as "run ended": whoever clicks all the time writes no more of them."""
KINDS_KEPT = 500
"""Kinds of lines that are counted at a time; beyond them each is written, as there are only so many lines of code."""
SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access")


def prompts_are_logged() -> bool:
    """Whether whoever runs the server wants to see what visitors type."""
    return os.environ.get(PROMPTS) == "1"


def event(log: logging.Logger, name: str, **fields: Any) -> None:
    """Log that something happened; ``fields`` are plain values beside its name."""
    log.info(name, extra={"fields": fields})


def set_up(stream: TextIO | None = None) -> None:
    """Write this process's logs to ``stream``, by default the standard error: ours, and the warnings of others.

    What Python and libraries would write there as they like becomes a line, too, and progress bars are off.
    """
    from huggingface_hub.utils import disable_progress_bars

    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    handler.addFilter(Repeated())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("specviz").setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = _in_a_thread
    disable_progress_bars()  # of the hub; transformers, which is imported later, follows it


def _in_a_thread(failed: threading.ExceptHookArgs) -> None:
    logging.getLogger(__name__).error("a thread failed", exc_info=failed.exc_value)


def adopt(names: Iterable[str] = SERVER_LOGGERS) -> None:
    """Take these loggers' own handlers away, so that their lines look like all others."""
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


class Repeated(logging.Filter):
    """Lets few of the lines through that say the same: whoever can cause an error can cause it a thousand times.

    What is the same is the place in the code that logs, of an event its name, of an error its type and where it was
    raised. The count of
    those held back stands, as ``more``, on the next line of the kind that is written, or on a line of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[object, ...], list[float]] = {}
        """Of each kind when its first line came, and how many came."""
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        most = SAME_LINES if record.levelno >= logging.WARNING else SAME_EVENTS
        now, kind = time.monotonic(), _kind(record)
        with self._lock:
            began, count = self._kinds.get(kind, (now, 0))
            if now - began > SAME_SECONDS:
                if count > most:
                    _add_field(record, "more", int(count) - most)
                began, count = now, 0
            if kind in self._kinds or len(self._kinds) < KINDS_KEPT:
                self._kinds[kind] = [began, count + 1]
            else:
                self._kinds = {one: seen for one, seen in self._kinds.items() if now - seen[0] <= SAME_SECONDS}
            if count + 1 == most:
                _add_field(record, "held_back", f"more of these, for {SAME_SECONDS:g} s")
            return count < most


def _kind(record: logging.LogRecord) -> tuple[object, ...]:
    error = record.exc_info[1] if record.exc_info else None
    raised: object = None
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        raised = (type(error), (frames[-1].filename, frames[-1].lineno) if frames else None)
    name = record.msg if record.levelno < logging.WARNING else None  # all events come from one line of code
    return record.name, record.levelno, record.pathname, record.lineno, name, raised


def _add_field(record: logging.LogRecord, name: str, value: object) -> None:
    record.fields = {**getattr(record, "fields", {}), name: value}


class JsonLines(logging.Formatter):
    """``time``, ``level``, ``logger``, ``event``, the event's own fields, and of an error its type and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
            **getattr(record, "fields", {}),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = type(error).__name__
            line["traceback"] = "\n".join(_described(error))
        return json.dumps(line, default=str)


def _event(record: logging.LogRecord) -> str:
    """Its first line: below it asyncio repeats the words of an exception."""
    said = record.getMessage()
    return said if prompts_are_logged() else said.partition("\n")[0]


def _described(error: BaseException) -> Iterator[str]:
    """The frames and the type of an exception and of those behind it, the first cause last."""
    words = prompts_are_logged()
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield "".join(traceback.format_tb(one.__traceback__)).rstrip()
        yield f"{type(one).__qualname__}: {one}" if words else type(one).__qualname__
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
