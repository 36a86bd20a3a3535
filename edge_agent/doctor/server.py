"""Checks of the server and of the clock. Two short requests, which change nothing on either side."""

from __future__ import annotations

from datetime import UTC, datetime

from edge_agent.doctor.finding import Seen, age, fail, ok, warn
from edge_agent.doctor.subject import Subject
from edge_agent.outbox import CLOCK_FACT
from edge_agent.release_book import ReleaseBook
from edge_agent.server_link import RefusedStation
from edge_agent.signed_releases import read_pinned_root
from runtime.contracts.errors import TouchstoneError, TryLater
from runtime.contracts.sync import Assignment

_CLOCK_OFF_S = 60.0
_SET_CLOCK = "set it, and have it kept right: 'timedatectl set-ntp true'"


def server(subject: Subject) -> Seen:
    """Whether the server can be reached, is the one of the enrolment, and still knows this station."""
    link = subject.link
    try:
        root = link.request("GET", "/v1/tuf/1.root.json").body
        if root != read_pinned_root(subject.home.root_metadata_file):
            advice = "somebody else answers there: check the address and the network; nothing it says is believed"
            return fail(f"{link.server}: its signing root is not the one that enrolment pinned", advice)
        target = link.request("GET", "/v1/station/assignment").read(Assignment, "assignment").target
    except RefusedStation as error:
        return fail(str(error), "it was removed there, or its key is not the one that was enrolled: enrol anew")
    except TryLater as error:
        return warn(str(error), "scans go on and records wait, for months if they must: see to network and server")
    return ok(f"{link.server}: answers as itself; this station should run {target or 'nothing yet'}")


def clock(subject: Subject) -> Seen:
    """Whether this machine's clock is right, by the last answer of the server, and never before what was signed."""
    now = datetime.fromtimestamp(subject.now_s, UTC)
    floor = max(filter(None, (ReleaseBook(subject.outbox).time_floor(), _running_model_made(subject))), default=None)
    if floor is not None and now < floor:
        return fail(f"it says {now:%Y-%m-%d %H:%M} UTC, before what was signed at {floor:%Y-%m-%d %H:%M}", _SET_CLOCK)
    ahead_s, said = subject.link.clock_offset_s, "the server's"
    if subject.link.last_contact_s is None:
        ahead_s, said = float(subject.outbox.fact(CLOCK_FACT) or "0"), "at the last contact, the server's"
    found = f"{now:%Y-%m-%d %H:%M} UTC; {said} was {age(abs(ahead_s))} {'ahead' if ahead_s >= 0 else 'behind'}"
    if abs(ahead_s) > _CLOCK_OFF_S:
        return warn(f"{found}, and records carry this machine's time", _SET_CLOCK)
    return ok(found)


def _running_model_made(subject: Subject) -> datetime | None:
    try:
        made = datetime.fromisoformat(subject.running[1].manifest.created_at)
    except (TouchstoneError, ValueError):
        return None
    return made if made.tzinfo else None
