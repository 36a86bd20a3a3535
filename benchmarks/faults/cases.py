"""Runs the cases of a fault beside each other, and collects what broke. Knows no fault."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.disk_model import Rule
from benchmarks.faults.results import Failure, NotPermitted, Outcome
from runtime.contracts.command import StepProgress
from runtime.contracts.errors import TouchstoneError


class Broken(TouchstoneError):
    """Something did not hold that always must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user chose.

    Attributes:
        work: empty folder on the disk to use; homes of cases that broke are left there.
        quick: sizes that fit a CI of a few minutes.
        seed: of everything that is drawn.
        rule: what a power cut leaves.
        only: name of the one case to run, or of the act whose cases to run; empty for all.
        kills: random ones, in all; None for the usual number.
        decodes: photos to decode, at least; None for the usual number.
        first: number of the first photo.
        photos: folder of real photos; None for none.
        workers: cases beside each other.
        part: which of how many parts of the cases to run; (1, 1): all.
    """

    work: Path
    quick: bool
    seed: int
    rule: Rule = "strict"
    only: str = ""
    kills: int | None = None
    decodes: int | None = None
    first: int = 0
    photos: Path | None = None
    workers: int = 2
    part: tuple[int, int] = (1, 1)
    progress: StepProgress = field(default_factory=StepProgress)

    def chosen(self, names: Sequence[str], quick_most: int) -> list[str]:
        """Return the cases to run: those that were asked for; of them a part, or ``quick_most`` spread over them."""
        number, parts = self.part
        names = [name for name in names if self.includes(name)][number - 1 :: parts]
        if self.quick and len(names) > quick_most:
            step = (len(names) - 1) / (quick_most - 1)
            return [names[round(number * step)] for number in range(quick_most)]
        return names

    def includes(self, case: str) -> bool:
        """Tell whether a case, or any of an act's, was asked for."""
        return not self.only or f"{case}:".startswith(f"{self.only}:") or self.only.startswith(f"{case}:")

    def random(self, what: str) -> random.Random:
        """Return a source of its own for ``what``, the same for the same seed."""
        return random.Random(f"{self.seed} {what}")  # noqa: S311 - chooses faults, not secrets


def run_cases(
    what: str, cases: Mapping[str, Callable[[], object]], settings: Settings, workers: int | None = None
) -> tuple[Failure, ...]:
    """Run every case to its end and return those that broke; as many beside each other as the user said, or as given.

    Raises:
        NotPermitted: this machine does not allow them.
    """
    failures = []
    with ThreadPoolExecutor(workers or settings.workers) as pool:
        running = {name: pool.submit(case) for name, case in cases.items()}
        try:
            for number, (name, future) in enumerate(running.items(), 1):
                why = why_broken(future.result)
                if why:
                    failures.append(Failure(case=name, why=why))
                settings.progress(what, number, len(cases))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(failures)


def why_broken(case: Callable[[], object]) -> str:
    """Run one case; return what broke, or nothing."""
    try:
        case()
    except NotPermitted:
        raise
    except (TouchstoneError, subprocess.TimeoutExpired) as error:
        return str(error) or type(error).__name__
    return ""


class Timed:
    """Makes an outcome that knows how long it took."""

    def __init__(self, fault: str, what: str) -> None:
        self._fault, self._what = fault, what
        self._started_s = time.monotonic()

    def outcome(self, cases: int, failures: Sequence[Failure], **figures: float) -> Outcome:
        """Return what came out."""
        return Outcome(
            fault=self._fault,
            what=self._what,
            cases=cases,
            failures=tuple(failures),
            seconds=round(time.monotonic() - self._started_s, 1),
            figures=figures,
        )

    def not_run(self, why: str) -> Outcome:
        """Return that it could not be done here."""
        return Outcome(fault=self._fault, what=self._what, not_run=why)
