"""The table of all checks, in the order in which they are shown, and how they are run. Looks at nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_agent.doctor import machine, server, work
from edge_agent.doctor.finding import Finding, Seen, fail, warn
from edge_agent.doctor.subject import Subject
from runtime.contracts.command import what_the_system_refused
from runtime.contracts.errors import TouchstoneError


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at; where one of ``needs`` has failed, there is nothing to see."""

    name: str
    look: Callable[[Subject], Seen]
    needs: tuple[str, ...] = ()


CHECKS: tuple[Check, ...] = (
    Check(name="home", look=machine.home),
    Check(name="settings", look=machine.settings, needs=("home",)),
    Check(name="enrolment", look=work.enrolment, needs=("home",)),
    Check(name="disk", look=machine.disk, needs=("home", "settings")),
    Check(name="durability", look=machine.durability, needs=("home",)),
    Check(name="service", look=machine.service, needs=("home",)),
    Check(name="desk", look=machine.desk, needs=("home", "settings")),
    Check(name="camera", look=machine.camera, needs=("settings",)),
    Check(name="outbox", look=work.outbox, needs=("home",)),
    Check(name="inbox", look=work.inbox, needs=("home",)),
    Check(name="rejected", look=work.rejected, needs=("home",)),
    Check(name="model", look=work.model, needs=("enrolment", "outbox")),
    Check(name="engine", look=work.engine, needs=("settings", "model")),
    Check(name="server", look=server.server, needs=("settings", "enrolment")),
    Check(name="clock", look=server.clock, needs=("settings", "enrolment", "outbox")),
)


_ASK = "docs/station.md says more"


def examine(subject: Subject) -> Iterator[Finding]:
    """Yield what each check finds. One that raises has failed: its message says why, and what to do."""
    failed: set[str] = set()
    for check in CHECKS:
        missing = [need for need in check.needs if need in failed]
        seen = _look(check, subject) if not missing else warn("not looked at", f"mend {' and '.join(missing)} first")
        if seen.state == "fail" or missing:
            failed.add(check.name)
        yield Finding(check=check.name, seen=seen)


def _look(check: Check, subject: Subject) -> Seen:
    try:
        return check.look(subject)
    except (TouchstoneError, OSError) as error:
        said = what_the_system_refused(error) if isinstance(error, OSError) else str(error)
        found, _, todo = said.partition("; ")
        return fail(found, todo or _ASK)
