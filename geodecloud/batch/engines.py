"""ENGINES: who does the jobs: this process, others of this machine, or Dask."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from geodecloud.batch.jobs import Job, JobResult, run_job
from geodecloud.errors import InputError, MissingExtraError, NetworkError, OptionError

LOOPBACK = "127.0.0.1"
CONNECT_S = 30
AHEAD = 3
"""Jobs handed out for each worker: it never waits, and few are lost with it."""


@dataclass(frozen=True)
class Workers:
    """Who does the jobs.

    Attributes:
        engine: a name in ``ENGINES``.
        number: of worker processes; None takes one a core.
        scheduler: address of a Dask scheduler that runs already, such as tcp://host:8786.
    """

    engine: str = "serial"
    number: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.engine not in ENGINES:
            raise OptionError(
                f"engine is {self.engine!r}", f"there are {', '.join(ENGINES)}", "choose one"
            )
        if self.number is not None and not 1 <= self.number <= 4096:
            raise OptionError(f"workers: {self.number}", "at least 1", "choose another number")
        if self.scheduler is not None and self.engine != "dask":
            raise OptionError(
                f"a scheduler beside the engine {self.engine}", "it is Dask's", "pass --engine dask"
            )

    @property
    def count(self) -> int:
        """Number of worker processes that are started here."""
        affinity = getattr(os, "sched_getaffinity", None)
        return self.number or (len(affinity(0)) if affinity else os.cpu_count() or 1)

    def run(self, jobs: Sequence[Job], out: str) -> Iterator[JobResult]:
        """Yield what became of each job, as they end; each exactly once.

        Raises:
            NetworkError: there is no such scheduler.
        """
        return ENGINES[self.engine](jobs, out, self)


def serial(jobs: Sequence[Job], out: str, _: Workers) -> Iterator[JobResult]:
    """Do the jobs here, one after the other, each on every core."""
    yield from (run_job(job, out) for job in jobs)


def processes(jobs: Sequence[Job], out: str, workers: Workers) -> Iterator[JobResult]:
    """Do the jobs in processes of this machine, each on one core.

    Where one is killed, what was lost with it is done again, one job at a time: so the job that
    kills its worker is found, and fails alone.
    """
    todo, suspects = deque(jobs), deque[Job]()
    while todo or suspects:
        at_once = 1 if suspects else workers.count
        waiting = suspects or todo
        lost: list[Job] = []
        for job, result in _pooled(waiting, out, at_once):
            if result is None:
                lost.append(job)
            else:
                yield result
        if at_once == 1 and len(lost) == 1:
            yield JobResult.of_failure(lost[0], _killed())
        else:
            suspects.extend(lost)


def _pooled(waiting: deque[Job], out: str, at_once: int) -> Iterator[tuple[Job, JobResult | None]]:
    """Results of one pool, until no job waits or a worker dies: jobs lost with it have none."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(at_once, mp_context=context, initializer=_begin)
    running: dict[Future[JobResult], Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once + (AHEAD if at_once > 1 else 0):
                running[pool.submit(run_job, waiting[0], out, 1)] = waiting[0]
                waiting.popleft()
            ended = wait(running, return_when=FIRST_COMPLETED).done
            for future in [each for each in ended if each.exception() is None]:
                yield running.pop(future), future.result()
            for future in ended & running.keys():
                future.result()  # raises
    except BrokenProcessPool:
        yield from [(job, None) for job in running.values()]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
            child.join(5)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and go where it goes: a killed one leaves no orphans at work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def dask(jobs: Sequence[Job], out: str, workers: Workers) -> Iterator[JobResult]:
    """Do the jobs on Dask: a scheduler that runs already, or a cluster of this machine's own.

    A cluster of its own listens on 127.0.0.1 alone. Jobs on CUDA ask for the resource GPU: start
    such workers with ``dask worker --resources GPU=1 --nthreads 1``.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise MissingExtraError("distributed", "batch", "the engine dask") from error
    is_gpu = any(job.options.get("device") == "cuda" for job in jobs)
    resources = {"GPU": 1} if is_gpu else {}
    with ExitStack() as stack:
        address: Any = workers.scheduler
        if address is None:
            address = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers.count,
                    threads_per_worker=1,
                    host=LOOPBACK,
                    dashboard_address=f"{LOOPBACK}:0" if find_spec("bokeh") else None,
                    resources=resources,
                )
            )
        try:
            client = stack.enter_context(distributed.Client(address, timeout=CONNECT_S))
        except (OSError, TimeoutError, ValueError) as error:
            raise NetworkError(
                f"no Dask scheduler answers at {workers.scheduler}",
                "a scheduler that runs, such as tcp://127.0.0.1:8786",
                "start one: dask scheduler",
            ) from error
        task = partial(run_job, out=out, n_threads=1)
        waiting, running = deque(jobs), dict[Any, Job]()
        while waiting or running:
            n_workers = len(client.scheduler_info(n_workers=-1)["workers"]) or workers.count
            while waiting and len(running) < AHEAD * n_workers:
                future = client.submit(task, waiting[0], pure=False, resources=resources or None)
                running[future] = waiting.popleft()
            for future in distributed.wait(list(running), return_when="FIRST_COMPLETED").done:
                job = running.pop(future)
                is_done = future.status == "finished"
                yield future.result() if is_done else JobResult.of_failure(job, _killed())


def _killed() -> InputError:
    return InputError(
        "the worker was killed while it did this item, again and again",
        "an item fits into a worker's memory",
        "give workers more memory, or fewer of them, or a smaller --tile-size",
    )


Engine = Callable[[Sequence[Job], str, Workers], Iterator[JobResult]]

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {"serial": serial, "processes": processes, "dask": dask}
)
"""Engines by name; each yields the results of all jobs, in the order in which they end."""
