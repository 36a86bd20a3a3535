"""Where independent jobs of a build run: in this process, or in others on this machine; a cluster is one more class.

Jobs are pure functions of picklable values. An exception of a job ends the run; expected refusals are results.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Protocol, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs jobs that do not know each other."""

    def run(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], done: Callable[[int], None] | None = None
    ) -> list[Result | None]:
        """Return the results in the order of the jobs, ``None`` for one whose process died.

        Args:
            function: importable by name.
            jobs: its arguments.
            done: told how many are finished.
        """
        ...


class InProcess:
    """One after the other, here."""

    def run(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], done: Callable[[int], None] | None = None
    ) -> list[Result | None]:
        """Run them in turn."""
        results: list[Result | None] = []
        for job in jobs:
            results.append(function(job))
            if done:
                done(len(results))
        return results


class Processes:
    """Fresh worker processes, as many as there are cores: an engine that crashes takes down no other job's result.

    Each is a pool of one, so that a death is the death of one known job.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or os.cpu_count() or 1
        self._idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        for _ in range(self._workers):
            self._idle.put(_process())

    def run(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], done: Callable[[int], None] | None = None
    ) -> list[Result | None]:
        """Run them side by side."""
        results: list[Result | None] = []
        threads = ThreadPoolExecutor(self._workers)
        try:
            for future in [threads.submit(self._one, function, job) for job in jobs]:
                results.append(future.result())
                if done:
                    done(len(results))
        finally:
            threads.shutdown(cancel_futures=True)
        return results

    def close(self) -> None:
        """End the workers."""
        for _ in range(self._workers):
            self._idle.get().shutdown(cancel_futures=True)
            self._idle.put(_process())

    def _one(self, function: Callable[[Job], Result], job: Job) -> Result | None:
        process = self._idle.get()
        try:
            with _deaf_to_ctrl_c():
                future = process.submit(function, job)
            return future.result()
        except BrokenExecutor:
            process.shutdown()
            process = _process()
            return None
        finally:
            self._idle.put(process)


def _process() -> ProcessPoolExecutor:
    """Return a worker that starts with its first job."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let a worker of a killed build end too, instead of waiting for jobs for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that start here inherit that they never see Ctrl-C, from their first instruction: we decide."""
    resource_tracker.ensure_running()  # as it starts, it takes our mask off again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
