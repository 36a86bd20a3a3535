"""Broken photos, fed to what the agent does with photos, in processes that may die; ``image_judge`` says what must be.

A case is a number; with the same seed, photos and versions it is the same photo, so that runs from another ``--first``
add up. What is counted is photos that were handed to the decoder: those that the check refuses come on top.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2

from benchmarks.faults.cases import Settings, Timed
from benchmarks.faults.image_judge import MOST_CPU_S, MOST_MB, Judged
from benchmarks.faults.image_mutations import mutated
from benchmarks.faults.image_seeds import seeds
from benchmarks.faults.results import Failure, Outcome
from runtime.contracts.errors import Unsupported
from runtime.cores import core_count

DECODES = 1_000_000
QUICK_DECODES = 20_000
_BATCH = 1000
_HANGS_S = 60.0
"""After which a case is given up; wall clock, so it leaves room for a busy machine."""
_MOST_TOLD = 100
_CONTEXT = multiprocessing.get_context("spawn")


def run(settings: Settings) -> Iterator[Outcome]:
    """Judge photos until the wanted number was decoded; a photo that broke something is left in the work folder."""
    timed = Timed(
        "images",
        f"mutated photos: at most {MOST_CPU_S:g} s of processor and {MOST_MB} MB each, only the agent's own errors, "
        "nothing left of their metadata but the orientation",
    )
    photos = seeds(settings.photos)
    wanted = settings.decodes or (QUICK_DECODES if settings.quick else DECODES)
    first, batch = (_number(settings.only), 1) if settings.only else (settings.first, _BATCH)
    judged, following = Judged(), first
    workers = [Worker(photos, settings.seed) for _ in range(1 if settings.only else core_count())]
    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            while following == first or (judged.decodes < wanted and not settings.only):
                starts = range(following, following + batch * len(workers), batch)
                for one in pool.map(lambda worker, start: worker.judge(start, start + batch), workers, starts):
                    judged.add(one)
                following = starts[-1] + batch
                settings.progress("images", min(judged.decodes, wanted), wanted)
    finally:
        for worker in workers:
            worker.stop()
    failures = [Failure(case=str(number), why=why) for number, why in judged.findings[:_MOST_TOLD]]
    for failure in failures:
        (settings.work / f"photo-{failure.case}").write_bytes(mutated(int(failure.case), settings.seed, photos))
    figures = {name: float(count) for name, count in sorted(judged.counted.items())}
    yield timed.outcome(
        judged.decodes,
        failures,
        **figures,
        findings=len(judged.findings),
        most_cpu_s=round(judged.most_cpu_s, 2),
        most_mb=round(judged.most_mb),
        first=first,
        following=following,
    )


def _number(case: str) -> int:
    if not case.isdecimal():
        raise Unsupported(f"--only {case}: expected the number of a photo, as a failure names it")
    return int(case)


class Worker:
    """A process that judges cases; the case in which it dies or hangs is a finding, and another goes on."""

    def __init__(self, photos: Sequence[bytes], seed: int) -> None:
        self._photos, self._seed = photos, seed
        self._start()

    def _start(self) -> None:
        self._at: Any = _CONTEXT.Value("q", -1, lock=False)
        self._link, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, self._at, self._photos, self._seed), daemon=True)
        self._process.start()
        theirs.close()

    def judge(self, first: int, end: int) -> Judged:
        """Judge the cases from ``first`` to before ``end``."""
        judged = Judged()
        while first < end:
            self._link.send((first, end))
            answer = self._answer()
            if isinstance(answer, Judged):
                judged.add(answer)
                break
            lost = max(first, self._at.value)
            self._start()
            judged.add(self.judge(first, lost))
            judged.add(Judged(counted=Counter(images=1, died=1), decodes=1, findings=[(lost, answer)]))
            first = lost + 1
        return judged

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _answer(self) -> Judged | str:
        """Return what came of the cases, or why nothing did."""
        number, since_s = -1, time.monotonic()
        while not self._link.poll(1.0):
            if self._at.value != number:
                number, since_s = self._at.value, time.monotonic()
            elif time.monotonic() - since_s > _HANGS_S:
                self.stop()
                return f"no end after {_HANGS_S:g} s"
        try:
            answer: Judged = self._link.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode or 0
            return f"the process died: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
        return answer


def _serve(link: Connection, at: Any, photos: Sequence[bytes], seed: int) -> None:
    """Judge what is asked for, until killed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders complain there about each photo
    cv2.setNumThreads(1)
    Judged().judge(-1, photos[0])  # what is loaded at the first photo is no photo's growth
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = size + 2 * MOST_MB * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    while True:
        first, end = link.recv()
        judged = Judged()
        for number in range(first, end):
            at.value = number
            judged.judge(number, mutated(number, seed, photos))
        link.send(judged)
