"""A stand-in for the package ``spaces`` (0.51) on ZeroGPU, for a machine without one; put its folder on PYTHONPATH.

It does what breaks programs there, in the same way: a call runs in a forked process, on a thread of its own; arguments
and what is yielded are pickled; of an exception only the class comes back; a process that is late or dies is "GPU task
aborted"; closing the generator ends the work after the step it is in; and outside a call CUDA looks as if it were there
and fails when it is touched. It is stricter in three points: torch must not be imported before it, only generators can
be decorated, and no process is used twice.

Why a thread of its own: GNU OpenMP, which PyTorch's CPU kernels use on Linux, keeps a pool of workers for each thread
that ever ran a parallel kernel. A fork copies the pool but not its workers, so if the thread that called fork has one,
the child's first parallel kernel on that thread waits for ever (seen with torch 2.13 and two threads). A new thread of
the child starts with no pool. ``spaces`` does the same.

Settings: SPACES_ZERO_GPU, as on the platform; SPACES_STAND_IN_LOG names a file that gets a line of JSON a call.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from multiprocessing import connection
from typing import Any

ON_ZERO = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
MOST_SECONDS = 120
SAYS_NOTHING_ABOUT = "CUDA was touched outside a function that is decorated with spaces.GPU"

_fork = multiprocessing.get_context("fork")
_decorated: list[Callable[..., Any]] = []


def GPU(task: Callable[..., Any] | None = None, *, duration: Any = None, size: str | None = None) -> Any:
    """Decorator; ``duration`` is seconds, or a function of the task's arguments that says them."""
    if task is None:
        return partial(GPU, duration=duration, size=size)
    if not ON_ZERO:
        return task
    _decorated.append(task)
    return forking(task, duration)


def gradio_auto_wrap(task: Any) -> Any:
    """Gradio calls it for every handler."""
    return task


def forking(
    task: Callable[..., Generator[Any, None, None]], duration: Any = None
) -> Callable[..., Generator[Any, None, None]]:
    """The generator function, each call of it in a process that is forked for it."""
    if not inspect.isgeneratorfunction(task):
        raise NotImplementedError("only generator functions")

    @wraps(task)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        import gradio as gr

        seconds = duration(*args, **kwargs) if callable(duration) else duration or 60
        if seconds > MOST_SECONDS:
            raise gr.Error(f"The requested GPU duration ({seconds}s) is larger than the maximum allowed")
        arguments, results, stop = _fork.SimpleQueue(), _fork.SimpleQueue(), _fork.Event()
        sent = _pickled((args, kwargs))
        process = _fork.Process(target=_in_fork, args=(task, arguments, results, stop), daemon=True)
        process.start()
        began, done = time.monotonic(), threading.Event()
        ThreadPoolExecutor(1).submit(arguments.put, sent)
        threading.Thread(target=_end_late, args=(process, seconds, done), daemon=True).start()
        threading.Thread(target=_tell_death, args=(process, results), daemon=True).start()
        yielded, how = 0, "closed"
        try:
            while True:
                kind, value = results.get()
                if kind == "value":
                    yielded += 1
                    yield pickle.loads(value)
                    continue
                how = kind
                if kind == "end":
                    return
                if kind == "error":
                    print(value[1], file=sys.stderr)
                    raise gr.Error(value[0], print_exception=False)
                raise gr.Error("GPU task aborted", print_exception=False)
        except GeneratorExit:
            stop.set()
            while results.get()[0] == "value":
                pass
            raise
        finally:
            process.join()  # one that does not end is killed once its time is over
            done.set()
            _log(
                {"pid": process.pid, "asked": seconds, "took": time.monotonic() - began, "yielded": yielded, "how": how}
            )

    return call


def _in_fork(task: Callable[..., Generator[Any, None, None]], arguments: Any, results: Any, stop: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # and not what the server does about it
    if ON_ZERO:
        _show_cuda(emulated=False)
    args, kwargs = pickle.loads(arguments.get())
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_iterate, task, args, kwargs, results, stop).result()
    results.put(("end", None))


def _iterate(task: Callable[..., Generator[Any, None, None]], args: Any, kwargs: Any, results: Any, stop: Any) -> None:
    values = task(*args, **kwargs)
    try:
        for value in values:
            if stop.is_set():
                values.close()
                return
            results.put(("value", _pickled(value)))
    except Exception as error:
        results.put(("error", (type(error).__name__, traceback.format_exc())))


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value)
    except (AttributeError, TypeError) as error:  # of a local function, of a lock
        raise pickle.PicklingError(str(error)) from error


def _end_late(process: Any, seconds: float, done: threading.Event) -> None:
    if not done.wait(seconds):
        process.kill()


def _tell_death(process: Any, results: Any) -> None:
    # Waits without reaping it: of two threads that join a process only one learns that it has ended.
    connection.wait([process.sentinel])
    with contextlib.suppress(ValueError):  # it may have died while it held the lock of the pipe
        results._wlock.release()
    results.put(("aborted", None))


def _log(line: dict[str, Any]) -> None:
    if path := os.environ.get("SPACES_STAND_IN_LOG"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


_real: dict[str, Any] = {}


def _show_cuda(emulated: bool) -> None:
    import torch

    def touched(*_: Any, **__: Any) -> None:
        raise RuntimeError(SAYS_NOTHING_ABOUT)

    shown = {"is_available": lambda: True, "device_count": lambda: 1, "_lazy_init": touched}
    for name, fake in shown.items():
        _real.setdefault(name, getattr(torch.cuda, name))
        setattr(torch.cuda, name, fake if emulated else _real[name])


def _report_at_launch() -> None:
    import gradio as gr

    launch = gr.Blocks.launch

    def first(*args: Any, **kwargs: Any) -> Any:
        if not _decorated:
            raise RuntimeError("No @spaces.GPU function detected during startup")
        gr.Blocks.launch = launch
        return launch(*args, **kwargs)

    gr.Blocks.launch = first


if ON_ZERO:
    if "torch" in sys.modules:
        raise RuntimeError("torch has been imported before the `spaces` package.")
    _show_cuda(emulated=True)
    _report_at_launch()
