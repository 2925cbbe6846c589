"""Do the units of a comparison in several processes on this machine, or on the machines of a Ray cluster.

Workers send finished units back, and the process that started them writes all files, so no disk needs to be shared.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import torch

from specviz.compare.jobs import Job, Worker
from specviz.errors import SettingsError

ENGINES = ("local", "ray")
RETRIES = 3
"""How often Ray starts a lost worker, and a unit that was lost with it, again."""

_worker: Worker | None = None


def run_in_processes(job: Job, indices: Sequence[int], processes: int) -> Iterator[tuple[int, bytes]]:
    """Do the units in so many processes, which share torch's threads; in the order in which they are finished.

    Raises:
        SettingsError: if a process was killed; what was finished stays.
    """
    job = replace(job, threads=max(1, torch.get_num_threads() // processes))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, max(1, len(indices))), context, initializer=_load_pair, initargs=(job,))
    try:
        waiting = iter(indices)
        running: dict[Future[bytes], int] = {}
        while True:
            # Submit few at a time, so that a run that breaks off need not wait for units whose rows are not read.
            while len(running) < 2 * processes and (index := next(waiting, None)) is not None:
                running[pool.submit(_run, index)] = index
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(future)
                yield index, future.result()
    except BrokenProcessPool:
        raise SettingsError(
            "A process ended unexpectedly (killed, or its models could not be loaded: see above); "
            "run the same command again to go on, with fewer processes if memory was short."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _load_pair(job: Job) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(job)


def _end_with_parent() -> None:
    """End this worker when its parent ends: a killed parent cannot do it, and the worker would keep its models."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([parent.sentinel])
    os._exit(1)


def _run(index: int) -> bytes:
    assert _worker is not None
    return _worker.run(index)


def run_on_ray(job: Job, indices: Sequence[int], workers: int | None) -> Iterator[tuple[int, bytes]]:
    """Do the units on a Ray cluster (``RAY_ADDRESS``), or on a local one that is started and ended here.

    Args:
        workers: each loads the pair; None: one a GPU of the cluster, or one where there is none.

    Raises:
        SettingsError: without the package ray, or if a worker is lost more than :data:`RETRIES` times.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError:
        raise SettingsError("--engine ray needs the package ray; install it with: pip install ray.") from None
    started = not ray.is_initialized()
    if started:
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
        ray.init(runtime_env={"env_vars": {"PYTHONPATH": path}}, include_dashboard=False, log_to_driver=False)
    actors: list[Any] = []
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        count = min(workers or gpus or 1, max(1, len(indices)))
        needs: dict[str, Any] = {"num_gpus": min(1, gpus / count)} if gpus else {"num_cpus": 1}
        if not gpus:
            job = replace(job, threads=max(1, torch.get_num_threads() // count))
        remote = ray.remote(max_restarts=RETRIES, max_task_retries=RETRIES, **needs)(_RayWorker)
        actors = [remote.remote(job) for _ in range(count)]
        yield from ActorPool(actors).map_unordered(lambda actor, index: actor.run.remote(index), indices)
    except ray.exceptions.RayTaskError as error:
        raise error.cause or error from None
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[:200]
        raise SettingsError(f"Ray lost a worker ({said}); run the same command again to go on.") from None
    finally:
        for actor in actors:
            ray.kill(actor)
        if started:
            ray.shutdown()


class _RayWorker:
    """A worker as a Ray actor: a process somewhere in the cluster that keeps its models loaded between units."""

    def __init__(self, job: Job):
        self._worker = Worker(job)

    def run(self, index: int) -> tuple[int, bytes]:
        return index, self._worker.run(index)
