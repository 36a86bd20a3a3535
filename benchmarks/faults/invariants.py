"""What must hold of a station after any harm, and in words where it does not. Opens no file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One record as it lies in a station's outbox.

    ``is_whole`` tells that the photos of a case are there, unspoilt, or were let go after the server took it.
    """

    item_id: str
    record_id: str
    state: str
    is_case: bool
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """How a station stands: what waits in its inbox, what it rejected, its records, and its own count of them."""

    waiting: tuple[str, ...]
    rejected: tuple[str, ...]
    records: tuple[Kept, ...]
    recorded: int

    @property
    def is_drained(self) -> bool:
        """Tell whether nothing waits and the server has taken all."""
        return not self.waiting and all(record.state == "acked" for record in self.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict that was shown; ``again``: of a record that was there before."""

    item_id: str
    record_id: str
    again: bool


def broken(put: Collection[str], stand: Stand, *, rejected: Collection[str] = (), drained: bool) -> list[str]:
    """Return what does not hold.

    Args:
        put: items that were ever put into the inbox, but for those in ``rejected``.
        stand: how the station stands.
        rejected: items that it should not have been able to read.
        drained: it has had all the time that it needs.
    """
    records = Counter(record.item_id for record in stand.records)
    found = [f"{item}: recorded {count} times" for item, count in records.items() if count > 1]
    found += [f"{item}: lost, neither recorded nor waiting" for item in put if item not in {*records, *stand.waiting}]
    found += [f"{item}: recorded, but nobody put it in" for item in records if item not in put]
    found += [f"{item}: rejected" for item in stand.rejected if item not in rejected]
    found += [f"{item}: a case without its photos" for item in _spoilt(stand.records)]
    if stand.recorded != len(stand.records):
        found.append(f"recorded {stand.recorded} is not acked + pending {len(stand.records)}")
    if drained:
        found += [f"{item}: still waits in the inbox" for item in stand.waiting]
        found += [f"{record.item_id}: {record.state}, not acked" for record in stand.records if record.state != "acked"]
        found += [f"{item}: neither rejected nor waiting" for item in rejected if item not in stand.rejected]
    return found


def broken_at_server(records: Iterable[Kept], at_server: Mapping[str, int]) -> list[str]:
    """Return what does not hold of the cases that stations count as taken by the server."""
    acked = [record.item_id for record in records if record.is_case and record.state == "acked"]
    found = [f"{item}: acked, but not at the server" for item in acked if item not in at_server]
    return found + [f"{item}: {count} cases at the server" for item, count in at_server.items() if count > 1]


def broken_words(before: Iterable[Decision], after: Sequence[Decision], records: Iterable[Kept]) -> list[str]:
    """Return which verdicts were shown before the harm, but had no record after it."""
    known = {record.record_id[:12] for record in records}
    anew = {decision.record_id for decision in after if not decision.again}
    return [
        f"{decision.item_id}: its verdict was shown, but its record was gone"
        for decision in before
        if decision.record_id not in known or decision.record_id in anew
    ]


def decisions(log: str) -> tuple[Decision, ...]:
    """Return the verdicts that a log shows, in order; a line that was cut off counts as not shown."""
    return tuple(
        Decision(item_id=line["item_id"], record_id=line["record_id"], again=line["again"])
        for line in events(log)
        if line["event"] == "decided"
    )


def events(log: str) -> list[dict[str, Any]]:
    """Return the agent's own lines of a log, in order."""
    found = []
    for line in log.splitlines():
        try:
            fact = json.loads(line)
        except ValueError:
            continue
        if isinstance(fact, dict) and "event" in fact:
            found.append(fact)
    return found


def crashes(log: str) -> list[str]:
    """Return what went wrong in a way that the agent did not foresee."""
    found = [f"a loop crashed: {line['why']} ({line['where']})" for line in events(log) if line["event"] == "crashed"]
    return found + (["a traceback in the log"] if "Traceback (most recent call last)" in log else [])


def _spoilt(records: Iterable[Kept]) -> list[str]:
    return [record.item_id for record in records if record.is_case and not record.is_whole]
