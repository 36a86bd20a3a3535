"""What one check found, and how findings are shown. Looks at nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runtime.contracts.codec import encode

State = Literal["ok", "warn", "fail"]
_WORST_FIRST: tuple[State, ...] = ("fail", "warn", "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was found, and what to do; nothing to do where all is well."""

    state: State
    found: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check has seen."""

    check: str
    seen: Seen


def ok(found: str) -> Seen:
    """All is well."""
    return Seen(state="ok", found=found)


def warn(found: str, todo: str) -> Seen:
    """The station works, but somebody should look."""
    return Seen(state="warn", found=found, todo=todo)


def fail(found: str, todo: str) -> Seen:
    """The station does not do its work until somebody acts."""
    return Seen(state="fail", found=found, todo=todo)


def age(seconds: float) -> str:
    """Return a span of time in words, in its largest unit that fits twice."""
    for unit, length_s in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def worst(findings: Sequence[Finding]) -> State:
    """Return the worst state of all."""
    states = {finding.seen.state for finding in findings}
    return next((state for state in _WORST_FIRST if state in states), "ok")


def as_text(findings: Sequence[Finding]) -> str:
    """Say it for a terminal: a line a check, and below it what to do."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.seen.state.upper():<4}  {finding.check:<{width}}  {finding.seen.found}")
        lines += [f"{'':<6}{'':<{width}}  -> {finding.seen.todo}"] if finding.seen.todo else []
    return "\n".join(lines) + "\n"


def as_data(findings: Sequence[Finding]) -> dict[str, Any]:
    """Say it for a program, in plain JSON data."""
    return {
        "state": worst(findings),
        "findings": [{"check": finding.check, **encode(finding.seen)} for finding in findings],
    }
