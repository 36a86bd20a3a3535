"""Finds, for every slot, the fastest candidate that stays close to the float model: successive halving over plans.

Rounds widen: first every calibration on a few inputs, then the survivors and the exclusions that the sensitivity pass
proposes, then the best of them on more. What is fastest is known beforehand within a slot, as each node left in float
costs time: so a candidate within the tolerance wins by fewer exclusions, and only outside it by less harm. Labels play
no part here; the risk gate judges what is frozen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from optimize.compiling import (
    Attempt,
    Candidate,
    Compared,
    CompareJob,
    CompileJob,
    compare_candidate,
    compare_key,
    compile_candidate,
    compile_key,
    harm_of,
    read_attempt,
)
from optimize.evidence import CandidateEvidence
from optimize.executor import Executor
from optimize.step_cache import StepCache
from optimize.targets.target import Inputs, Plan, Slot

FEEDS = (4, 12, 32)
"""Feeds (of eight photos) that each round compares on."""
EXCLUSIONS = (2, 6)
"""How many of the most harmful nodes the second round leaves in float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Where and until when the work of a build is done; ``deadline_s`` on the clock, ``None`` for no time budget."""

    cache: StepCache
    executor: Executor
    progress: Callable[[str, int, int], None]
    deadline_s: float | None = None
    clock: Callable[[], float] = time.monotonic

    def late(self) -> bool:
        """Whether the time budget is spent."""
        return self.deadline_s is not None and self.clock() > self.deadline_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One slot to fill.

    Attributes:
        target: name of the target.
        slot: to fill.
        inputs: what compiling may read.
        inputs_digest: their hash.
        reference: the float model's outputs on the inputs' samples.
        sensitive: nodes, most harmful first.
        by_correlation: what counts as harm; see ``CandidateEvidence``.
        tolerance: harm that still keeps the decisions.
    """

    target: str
    slot: Slot
    inputs: Inputs
    inputs_digest: str
    reference: Path
    sensitive: tuple[str, ...]
    by_correlation: bool
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What became of a task: the candidate that was frozen, or a refusal in words."""

    task: Task
    candidate: Candidate | None
    attempt: Attempt | None
    compared: Compared | None
    refusal: str | None
    tried: tuple[CandidateEvidence, ...]


@dataclass(slots=True)
class _Entry:
    """A candidate on its way through the rounds."""

    task: Task
    plan: Plan
    attempt: Attempt | None = None
    compared: Compared | None = None
    feeds: int = 0
    outcome: str = ""

    @property
    def alive(self) -> bool:
        return not self.outcome

    @property
    def inputs(self) -> int:
        """How many inputs it has been compared on."""
        return self.compared.fidelity.inputs if self.compared and self.compared.fidelity else 0

    def candidate(self) -> Candidate:
        task = self.task
        return Candidate(
            target=task.target, slot=task.slot, plan=self.plan, inputs=task.inputs, inputs_digest=task.inputs_digest
        )

    def harm(self) -> float:
        if self.compared is None:
            return math.inf
        return harm_of(self.compared, by_correlation=self.task.by_correlation)

    def rank(self) -> tuple[bool, int, float]:
        """Order: within the tolerance first, among those fewer exclusions, then less harm."""
        harm, beyond = self.harm(), self.harm() > self.task.tolerance
        return (beyond, 0 if beyond else len(self.plan.excluded), harm)


@dataclass(slots=True)
class _Field:
    """All entries of one task."""

    task: Task
    entries: list[_Entry] = field(default_factory=list)

    def alive(self) -> list[_Entry]:
        return sorted((entry for entry in self.entries if entry.alive), key=_Entry.rank)

    def halve(self) -> None:
        """Drop the worse half; at least one stays."""
        ranked = self.alive()
        for entry in ranked[max(math.ceil(len(ranked) / 2), 1) :]:
            entry.outcome = f"dropped after {entry.inputs} inputs"


def search(tasks: Sequence[Task], bench: Workbench) -> list[Filled]:
    """Fill every slot.

    Args:
        tasks: the slots, of one or several targets.
        bench: cache, executor, clock and time budget.

    Returns:
        In the order of the tasks.
    """
    fields = [
        _Field(task=task, entries=[_Entry(task=task, plan=plan) for plan in _first_plans(task)]) for task in tasks
    ]
    for number, feeds in enumerate(FEEDS):
        if number and bench.late():
            break
        if number == 1:
            for one in fields:
                one.entries += _exclusions(one)
        entries = [entry for one in fields for entry in one.alive()]
        _compile([entry for entry in entries if entry.attempt is None], bench, f"compile, round {number + 1}")
        _compare([entry for entry in entries if entry.alive], feeds, bench, f"compare, round {number + 1}")
        for one in fields:
            if len(one.alive()) > 1:
                one.halve()
    return [_filled(one) for one in fields]


def _first_plans(task: Task) -> list[Plan]:
    slot = task.slot
    return [Plan(slot=slot.name, calibration=calibration) for calibration in slot.calibrations] or [
        Plan(slot=slot.name)
    ]


def _exclusions(one: _Field) -> list[_Entry]:
    """Propose to leave the most harmful nodes in float, with the calibration that leads."""
    alive = one.alive()
    if not (one.task.slot.excludable and alive):
        return []
    sensitive = one.task.sensitive
    sizes = sorted({min(size, len(sensitive)) for size in EXCLUSIONS} - {0})
    leader = alive[0].plan
    return [
        _Entry(
            task=one.task,
            plan=Plan(slot=leader.slot, calibration=leader.calibration, excluded=tuple(sorted(sensitive[:size]))),
        )
        for size in sizes
    ]


def _compile(entries: Sequence[_Entry], bench: Workbench, step: str) -> None:
    new = []
    for entry in entries:
        found = bench.cache.find("compile", compile_key(entry.candidate()))
        if found is None:
            new.append(entry)
        else:
            entry.attempt = read_attempt(found)
    jobs = [CompileJob(cache=bench.cache.folder, candidate=entry.candidate()) for entry in new]
    done = bench.executor.run(compile_candidate, jobs, partial(_tell, bench, step, len(jobs)))
    for entry, attempt in zip(new, done, strict=True):
        entry.attempt = attempt
    for entry in entries:
        if entry.attempt is None:
            entry.outcome = "refused: the compiler's process died"
        elif entry.attempt.refusal is not None:
            entry.outcome = f"refused: {entry.attempt.refusal}"


def _compare(entries: Sequence[_Entry], feeds: int, bench: Workbench, step: str) -> None:
    jobs = [
        CompareJob(
            cache=bench.cache.folder,
            candidate=entry.candidate(),
            attempt=entry.attempt,
            reference=entry.task.reference,
            feeds=min(feeds, entry.task.inputs.samples.feeds),
        )
        for entry in entries
        if entry.attempt is not None
    ]
    new = [job for job in jobs if bench.cache.find("compare", compare_key(job)) is None]
    died = {
        id(job)
        for job, found in zip(
            new, bench.executor.run(compare_candidate, new, partial(_tell, bench, step, len(new))), strict=True
        )
        if found is None
    }
    for entry, job in zip(entries, jobs, strict=True):
        if id(job) in died:
            entry.outcome = "refused: the engine's process died while it ran this network"
            continue
        entry.compared, entry.feeds = compare_candidate(job), job.feeds
        if entry.compared.refusal is not None:
            entry.outcome = f"refused: {entry.compared.refusal}"


def _tell(bench: Workbench, step: str, total: int, done: int) -> None:
    bench.progress(step, done, total)


def _filled(one: _Field) -> Filled:
    alive = one.alive()
    winner = alive[0] if alive else None
    for entry in alive:
        entry.outcome = "frozen" if entry is winner else "dropped"
    refusals = [entry.outcome.removeprefix("refused: ") for entry in one.entries if entry.outcome.startswith("refused")]
    return Filled(
        task=one.task,
        candidate=winner.candidate() if winner else None,
        attempt=winner.attempt if winner else None,
        compared=winner.compared if winner else None,
        refusal=None if winner else refusals[0],
        tried=tuple(_evidence(entry) for entry in one.entries),
    )


def _evidence(entry: _Entry) -> CandidateEvidence:
    harm = entry.harm()
    return CandidateEvidence(
        slot=entry.task.slot.name,
        target=entry.task.target,
        calibration=entry.plan.calibration,
        excluded=len(entry.plan.excluded),
        inputs=entry.inputs,
        harm=harm if math.isfinite(harm) else None,
        outcome=entry.outcome,
    )
