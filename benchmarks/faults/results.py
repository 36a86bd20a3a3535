"""What a fault did, one line of JSON each, with the machine and the command; and the table made from such lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fingerprint import Fingerprint
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import Unsupported, Untrusted


class NotPermitted(Unsupported):
    """This machine does not allow the fault to be done; nothing was shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One case in which an invariant broke: its name, which ``--only`` runs again, and what was seen."""

    case: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One kind of harm, done in a number of cases.

    Attributes:
        fault: module that did it.
        what: was done, in words.
        cases: that were run.
        failures: of them.
        seconds: it took.
        figures: what else was measured; units in the names.
        not_run: why it could not be done here; empty where it was.
    """

    fault: str
    what: str
    cases: int = 0
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    not_run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An outcome, where and how it came about; ``seed`` makes it again."""

    outcome: Outcome
    seed: int
    command: str
    device: Fingerprint


def write_line(path: Path, line: Line) -> None:
    """Add a line to a file of results, which is made where there is none."""
    with path.open("ab") as file:
        file.write(canonical_json(line) + b"\n")


def read_lines(path: Path) -> tuple[Line, ...]:
    """Read a file of results.

    Raises:
        Unsupported: it is something else.
    """
    found = []
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        what = f"{path}, line {number}"
        try:
            found.append(decode(Line, parse_json(raw, what), what))
        except Untrusted as error:
            raise Unsupported(f"{error}; expected a file that 'python -m benchmarks.faults' wrote") from error
    return tuple(found)


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return 1 where an invariant broke, else 3 where something could not be done here, else 0."""
    known = list(outcomes)
    if any(outcome.failures for outcome in known):
        return 1
    return 3 if any(outcome.not_run for outcome in known) else 0


def table(lines: Sequence[Line]) -> str:
    """Return the results as a table in Markdown, each machine's below its own line, failures after it."""
    parts: list[str] = []
    devices = dict.fromkeys(line.device.line() for line in lines)
    for device in devices:
        here = [line.outcome for line in lines if line.device.line() == device]
        parts += [device, "", "| fault | what | cases | broken | seconds | figures |", "|---|---|---|---|---|---|"]
        parts += map(_row, here)
        parts += [
            f"\n{outcome.fault} {failure.case}: {failure.why}" for outcome in here for failure in outcome.failures
        ]
        parts.append("")
    return "\n".join(parts)


def _row(outcome: Outcome) -> str:
    measured = "; ".join(f"{name} {value:.4g}" for name, value in outcome.figures.items())
    figures = f"NOT RUN: {outcome.not_run}" if outcome.not_run else measured
    return (
        f"| {outcome.fault} | {outcome.what} | {outcome.cases} | {len(outcome.failures)} | {outcome.seconds:.0f} | "
        f"{figures} |"
    )
