"""Engines: the same bytes from one process, from several, and from Dask; a kill loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from geodecloud.batch import BatchOptions, Job, JobResult, Query, Workers, plan, run
from geodecloud.errors import NetworkError, OptionError
from tests.batch.conftest import IMPATIENT
from tests.batch.stac_items import cog_items
from tests.batch.test_running import sums

FILL = BatchOptions({"model": "fill"}, network=IMPATIENT, retries=0)
BIN = Path(sys.executable).parent
# Dask's own processes warn of each other's deaths, and close sockets late
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:.*:UserWarning")


@pytest.fixture(scope="module")
def local_items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with six items whose COGs lie on this disk."""
    folder = tmp_path_factory.mktemp("local")
    items = json.dumps(cog_items(folder, 6)).replace("{base}/assets", str(folder))
    features = {"type": "FeatureCollection", "features": json.loads(items)}
    (folder / "items.json").write_text(json.dumps(features))
    return folder / "items.json"


@pytest.fixture(scope="module")
def expected(local_items: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes of them."""
    out = tmp_path_factory.mktemp("expected")
    assert run(local_items, out, Query(), FILL).failed == ()
    return sums(out)


def test_an_unknown_engine_is_refused():
    with pytest.raises(OptionError, match="serial, processes, dask"):
        Workers("spark")
    with pytest.raises(OptionError, match="--engine dask"):
        Workers("processes", scheduler="tcp://127.0.0.1:1")


def test_a_scheduler_that_does_not_answer_is_one_typed_error(local_items, tmp_path, monkeypatch):
    monkeypatch.setattr("geodecloud.batch.engines.CONNECT_S", 1)
    with pytest.raises(NetworkError, match="no Dask scheduler"):
        run(local_items, tmp_path, Query(), FILL, Workers("dask", scheduler="tcp://127.0.0.1:9"))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "dask"])
@pytest.mark.parametrize("number", [1, 2])
def test_every_engine_makes_the_same_bytes(local_items, expected, tmp_path, engine, number):
    report = run(local_items, tmp_path, Query(), FILL, Workers(engine, number))
    assert [result.message for result in report.results] == [""] * 6
    assert sums(tmp_path) == expected


@pytest.mark.slow
def test_the_model_makes_the_same_bytes_on_one_core_and_on_all(local_items, tmp_path):
    made = []
    for number in (1, None):
        options = BatchOptions(network=IMPATIENT, retries=0)
        workers = Workers("processes", number) if number else Workers()
        out = tmp_path / str(number)
        assert run(local_items, out, Query(max_items=1), options, workers).failed == ()
        made.append(sums(out))
    assert made[0] == made[1]


@pytest.mark.slow
def test_a_cluster_of_its_own_listens_on_this_machine_alone(local_items, tmp_path, monkeypatch):
    import distributed

    started = []

    class Watched(distributed.LocalCluster):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            listening = self.scheduler.listeners
            started.extend(listener.listen_address for listener in listening)
            started.extend(worker.worker_address for worker in self.workers.values())

    monkeypatch.setattr(distributed, "LocalCluster", Watched)
    run(local_items, tmp_path, Query(max_items=1), FILL, Workers("dask", 1))
    assert started
    assert all(address.startswith("tcp://127.0.0.1:") for address in started)


@pytest.mark.slow
def test_a_job_that_kills_its_worker_fails_alone(local_items, tmp_path, expected):
    jobs, _ = plan(local_items, Query(), FILL)
    deadly = replace(jobs[2], options={"model": "fill", "mask": [DEADLY]})
    jobs[2] = deadly
    results = list(Workers("processes", 2).run(_Deadly(jobs), str(tmp_path)))
    assert sorted(result.id for result in results) == sorted(job.id for job in jobs)
    assert [result.id for result in results if result.status == "failed"] == [deadly.id]
    assert "killed" in next(result.message for result in results if result.status == "failed")


DEADLY = "deadly"


class _Deadly(list):
    """Jobs, of which one takes its worker along when it is unpickled there."""

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__(_Bomb(job) if job.options.get("mask") == [DEADLY] else job for job in jobs)


class _Bomb(Job):
    """A job that ends the process it comes to."""

    def __new__(cls, *_: object) -> _Bomb:
        return object.__new__(cls)

    def __init__(self, job: Job) -> None:
        self.__dict__.update(job.__dict__)

    def __reduce__(self) -> tuple:
        return _end, (os.getpid(),)


def _end(home: int) -> None:
    if os.getpid() != home:
        os._exit(9)


@contextmanager
def dask_of_two(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and two workers without nannies: address, and the workers."""
    log = (folder / "dask.log").open("w")
    file = folder / "scheduler.json"
    dask = [str(BIN / "dask")]
    here = ["--host", "127.0.0.1", "--no-dashboard"]
    quiet = {"stdout": log, "stderr": log}
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--port", "0", "--scheduler-file", str(file), *here], **quiet
        )
    ]
    try:
        while not file.exists():
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        options = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder), *here]
        workers = [subprocess.Popen([*dask, "worker", address, *options], **quiet) for _ in "ab"]
        started += workers
        yield address, workers
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait(20)
        log.close()


@pytest.mark.slow
@pytest.mark.parametrize("after_items", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("delay_s", [0.0, 0.15, 0.4, 0.8])
def test_a_killed_dask_worker_loses_nothing(local_items, expected, tmp_path, after_items, delay_s):
    with dask_of_two(tmp_path) as (address, workers):
        killed = threading.Event()

        def kill(progress) -> None:
            if progress.done == after_items and not killed.is_set():
                killed.set()
                threading.Timer(delay_s, workers[0].send_signal, [signal.SIGKILL]).start()

        out = tmp_path / "out"
        scheduler = Workers("dask", scheduler=address)
        report = run(local_items, out, Query(), FILL, scheduler, on_progress=kill)
        assert killed.is_set()
        workers[0].wait(20)
    # what was done, but not yet told when the worker died, is found done by the next
    assert {result.status for result in report.results} <= {"done", "skipped"}
    assert len(report.results) == 6
    assert sums(out) == expected


DRIVER = """
import sys
from geodecloud.batch import BatchOptions, Query, Workers, run
run({source!r}, {out!r}, Query(), BatchOptions({{"model": "fill"}}), {workers})
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["Workers()", "Workers('processes', 2)"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_killed_driver_loses_nothing(local_items, expected, tmp_path, workers, share):
    code = DRIVER.format(source=str(local_items), out=str(tmp_path), workers=workers)
    (tmp_path / "driver.py").write_text("if __name__ == '__main__':\n" + "".join(
        f"    {line}\n" for line in code.strip().splitlines()
    ))  # fmt: skip
    driver = subprocess.Popen([sys.executable, str(tmp_path / "driver.py")], cwd=Path.cwd())
    wanted = round(6 * share)
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("*/*/item.json"))) < wanted and time.monotonic() < until:
        time.sleep(0.02)
    driver.kill()
    driver.wait(20)
    (tmp_path / "driver.py").unlink()
    report = run(local_items, tmp_path, Query(), FILL)
    assert report.failed == ()
    assert len([result for result in report.results if result.status == "skipped"]) >= wanted - 1
    assert sums(tmp_path) == expected


@pytest.mark.slow
def test_results_of_killed_jobs_are_told_once(local_items, tmp_path):
    with dask_of_two(tmp_path) as (address, workers):
        jobs, _ = plan(local_items, Query(), FILL)
        found: list[JobResult] = []
        for result in Workers("dask", scheduler=address).run(jobs, str(tmp_path / "out")):
            found.append(result)
            if len(found) == 2:
                workers[1].kill()
    assert sorted(result.id for result in found) == sorted(job.id for job in jobs)
