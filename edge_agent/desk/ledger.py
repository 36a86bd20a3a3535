"""What the page lists of the outbox: records, cases that wait, items to hold. Reads only."""

from __future__ import annotations

from typing import Literal, Protocol

from runtime.contracts.records import Record
from runtime.contracts.sync import Answer

State = Literal["pending", "parked", "acked"]


class Listed(Protocol):
    """One record and what became of it."""

    @property
    def seq(self) -> int:
        """Its number at this station, in the order of scanning."""
        ...

    @property
    def record(self) -> Record:
        """As it was scanned."""
        ...

    @property
    def state(self) -> State:
        """``parked``: the server refused it for good."""
        ...

    @property
    def objected(self) -> bool:
        """Whether a person here disagreed with its verdict."""
        ...

    @property
    def answer(self) -> Answer | None:
        """The experts' word, if it has come."""
        ...


class Ledger(Protocol):
    """What the desk reads of the outbox."""

    def page(self, before: int | None, limit: int, item: str = "") -> tuple[Listed, ...]:
        """Return records, newest first: those with a lower ``seq`` than ``before``, whose item id contains ``item``."""
        ...

    def waiting(self, limit: int) -> tuple[Listed, ...]:
        """Return cases without an answer, oldest first."""
        ...

    def holds(self, limit: int) -> tuple[Listed, ...]:
        """Return scans drawn for audit without an answer, oldest first."""
        ...
