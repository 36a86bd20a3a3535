"""Listing features of items, sent ahead to the stations. Of an item, for all or for one, the newest stay.

Numbered under a lock, so that a lower number never comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.errors import Unsupported, Untrusted
from runtime.contracts.records import ItemId, StationId, check_name
from runtime.contracts.sync import MAX_LISTING_BYTES, FeaturesAhead, ListingFeatures
from sync_server.schema import COUNTERS, FEATURES, STATIONS, stamp
from sync_server.store import insert_new

MAX_ROWS = 1000
"""Rows in one transaction."""

_COUNTER = "features"
_EVERY_STATION = ""
_AHEAD_OF_US = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRow:
    """Features of one item at one moment (ISO 8601 with its zone), for one station or (``None``) for every one."""

    item_id: ItemId
    as_of: str
    values: Mapping[str, float | None]
    station: StationId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """How many rows were taken, and how many were not because as new ones are here."""

    taken: int
    kept: int


def read_lines(lines: Iterable[bytes], what: str) -> Iterator[FeatureRow]:
    """Yield the rows of JSON lines; empty lines are skipped.

    Raises:
        Unsupported: a line is no row; the message names it.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{what}, line {number}"
            try:
                yield decode(FeatureRow, parse_json(line, where), where)
            except Untrusted as error:
                raise Unsupported(
                    f"{error}; nothing of this part was loaded, correct it and load the file again"
                ) from (error)


def in_parts(rows: Iterable[FeatureRow]) -> Iterator[Sequence[FeatureRow]]:
    """Yield rows in parts for ``load_features``."""
    rest = iter(rows)
    while part := tuple(islice(rest, MAX_ROWS)):
        yield part


def load_features(connection: Connection, rows: Sequence[FeatureRow], now: datetime) -> Loaded:
    """Store rows, all or none; storing the same again changes nothing.

    Raises:
        Unsupported: a row cannot be used; the message names its item.
    """
    stations = set(connection.execute(select(STATIONS.c.id)).scalars())
    checked = [_checked(row, stations, now) for row in rows]
    insert_new(connection, COUNTERS, {"name": _COUNTER, "value": 0})
    # the counter's row lock is held until commit: numbers become visible in their order
    counter = update(COUNTERS).where(COUNTERS.c.name == _COUNTER).values(value=COUNTERS.c.value + len(checked))
    seq = connection.execute(counter.returning(COUNTERS.c.value)).scalar_one() - len(checked)
    taken = sum(_put(connection, row | {"seq": seq + number}) for number, row in enumerate(checked, 1))
    return Loaded(taken=taken, kept=len(checked) - taken)


def features_after(connection: Connection, station_id: StationId, after: int, limit: int) -> FeaturesAhead:
    """Return what was loaded for a station with a number above ``after``, oldest first, at most ``limit``."""
    found: list[Row[Any]] = []
    for whose in (_EVERY_STATION, station_id):  # each by its index; a station sees none of the others' rows
        query = select(FEATURES).where(FEATURES.c.station_id == whose, FEATURES.c.seq > after)
        found += connection.execute(query.order_by(FEATURES.c.seq).limit(limit)).all()
    return FeaturesAhead(
        features=tuple(
            ListingFeatures(
                seq=row.seq,
                item_id=row.item_id,
                as_of=row.as_of,
                listing=parse_json(row.listing.encode(), "features"),
            )
            for row in sorted(found, key=lambda row: row.seq)[:limit]
        )
    )


def _checked(row: FeatureRow, stations: set[str], now: datetime) -> dict[str, Any]:
    check_name(row.item_id, "item_id")
    what = f"features of {row.item_id!r}"
    if row.station is not None and row.station not in stations:
        raise Unsupported(f"{what}: there is no station {row.station[:80]!r}; leave it out to send them to every one")
    for name in row.values:
        check_name(name, f"{what}: a name")
    listing = canonical_json(row.values)
    if not row.values or len(listing) > MAX_LISTING_BYTES:
        raise Unsupported(f"{what}: expected 1 to {MAX_LISTING_BYTES} bytes of values, got {len(listing)}")
    as_of = _moment(row.as_of, what)
    if as_of > now + _AHEAD_OF_US:
        raise Unsupported(f"{what}: as_of {row.as_of[:40]!r} has not come yet; correct the clock that wrote it")
    station = _EVERY_STATION if row.station is None else row.station
    return {"item_id": row.item_id, "station_id": station, "as_of": stamp(as_of), "listing": listing.decode()}


def _moment(text: str, what: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Unsupported(f"{what}: as_of: expected ISO 8601 with its zone, as 2026-11-23T08:00:00Z, got {text[:40]!r}")


def _put(connection: Connection, row: Mapping[str, object]) -> bool:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(FEATURES).values(dict(row))
    put = insert.on_conflict_do_update(
        index_elements=[FEATURES.c.item_id, FEATURES.c.station_id],
        set_={name: insert.excluded[name] for name in ("seq", "as_of", "listing")},
        where=FEATURES.c.as_of < insert.excluded.as_of,
    )
    return connection.execute(put.returning(FEATURES.c.seq)).first() is not None
