"""Routes of admins: people and enrolment codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter

from runtime.contracts.records import StationId
from sync_server.api.bodies import strictly
from sync_server.api.callers import Caller, Shared
from sync_server.auth import Role, add_person
from sync_server.devices import issue_code
from sync_server.releases import first_root

router = APIRouter(prefix="/v1", tags=["people"])


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPerson:
    """Somebody to add."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonToken:
    """The token of somebody new, shown this once."""

    name: str
    role: Role
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeWanted:
    """How long a code is to be valid, 1 to 744 hours, and the station whose device it replaces, if any."""

    valid_hours: int = 24
    replace: StationId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeIssued:
    """A one-time enrolment code, shown this once."""

    code: str


@router.post("/people", status_code=201)
def add(body: NewPerson, caller: Caller, _: Annotated[None, strictly(NewPerson)], shared: Shared) -> PersonToken:
    """Add somebody; the answer holds their token, which is shown this once."""
    caller.must_be("admin")
    with shared.store.write() as connection:
        token = add_person(connection, body.name, body.role)
    return PersonToken(name=body.name, role=body.role, token=token)


@router.post("/enrolment-codes", status_code=201)
def enrolment_code(
    body: CodeWanted, caller: Caller, _: Annotated[None, strictly(CodeWanted)], shared: Shared
) -> CodeIssued:
    """Issue a one-time code for one station, or for the device that takes over a station's identity."""
    caller.must_be("admin")
    with shared.store.write() as connection:
        root = first_root(connection)
        code = issue_code(connection, root, body.valid_hours, shared.now(), replaces=body.replace)
    return CodeIssued(code=str(code))
