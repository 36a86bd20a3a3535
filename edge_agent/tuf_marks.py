"""The newest of each TUF role that this station has seen, kept in the outbox's facts. Light: imports nothing of TUF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.outbox import Outbox
from runtime.contracts.codec import canonical_json, decode, parse_json

MARKS_FACT = "tuf_marks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The highest version of a role that was seen under these keys.

    Attributes:
        keys: ids of the role's keys, sorted; other keys begin a new account.
        version: of the metadata.
        signed_at: the latest trustworthy moment at which it was signed, ISO 8601; empty where none is known.
    """

    keys: tuple[str, ...]
    version: int
    signed_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The marks of all roles, and of the root itself."""

    roles: Mapping[str, Mark]


def read_marks(outbox: Outbox) -> Mapping[str, Mark]:
    """Return the marks by role; none before the first update.

    Raises:
        Untrusted: they cannot be read.
    """
    stored = outbox.fact(MARKS_FACT)
    return {} if stored is None else decode(Marks, parse_json(stored.encode(), MARKS_FACT), MARKS_FACT).roles


def write_marks(outbox: Outbox, marks: Mapping[str, Mark]) -> None:
    """Keep the marks, durably."""
    outbox.set_facts({MARKS_FACT: canonical_json(Marks(roles=marks)).decode()})
