"""Listing features that the server sent ahead, so that a scan that brings no listing can be judged without a network.

Nobody signed them offline, so what is found here only ever moves a verdict towards review (ADR 19). Standard library
only: ``scan`` reads them too. ``edge_agent.feature_feed`` fetches them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from edge_agent.outbox import CLOCK_FACT, CONTACT_FACT, Outbox
from runtime.contracts.codec import canonical_json, parse_json
from runtime.contracts.errors import TryLater
from runtime.contracts.records import ItemId
from runtime.contracts.sync import FeaturesAhead, ListingFeatures

DEFAULT_MAX_AGE_S = 7 * 86_400.0
KEPT_FOR_AGES = 4
"""Stale features can still warn: they go only when they are so many times as old as features may be to be fresh."""

_SEQ_FACT = "features_seq"
_CLOCK_SLACK_S = 60.0
_MAX_SEQ = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class SentAhead:
    """Features of one item, and of when they are; ``stale`` ones must not confirm anything."""

    listing: Mapping[str, float | None]
    as_of: str
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How many items have features here, and of when the newest are."""

    items: int
    newest: str | None


def features_of(outbox: Outbox, item_id: ItemId, *, now_s: float, max_age_s: float) -> SentAhead | None:
    """Return the features of an item.

    Args:
        outbox: of the station.
        item_id: which item.
        now_s: seconds since 1970 by this machine's clock.
        max_age_s: older features are stale. So are all where the clock cannot be right: it says a time before the
            features were made, or before the last contact with the server.
    """
    with outbox.reading() as db:
        row = db.execute("SELECT listing, as_of, as_of_s FROM feature WHERE item_id = ?", (item_id,)).fetchone()
        facts = dict(db.execute("SELECT name, value FROM fact WHERE name IN (?, ?)", (CLOCK_FACT, CONTACT_FACT)))
    if row is None:
        return None
    age_s = now_s + float(facts.get(CLOCK_FACT, "0")) - row[2]
    is_clock_right = now_s + _CLOCK_SLACK_S >= float(facts.get(CONTACT_FACT, "0"))
    fresh = is_clock_right and 0 <= age_s <= max_age_s
    return SentAhead(listing=parse_json(row[0], "features"), as_of=row[1], stale=not fresh)


def last_features(outbox: Outbox) -> int:
    """Return the highest ``seq`` that has come, 0 if none has."""
    return int(outbox.fact(_SEQ_FACT) or "0")


def add_features(
    outbox: Outbox, ahead: FeaturesAhead, *, after: int, server_now_s: float, max_age_s: float, most: int
) -> None:
    """Store what the server sent; of an item, the newest features stay.

    Args:
        outbox: of the station.
        ahead: one page, not empty.
        after: what the page was asked for.
        server_now_s: seconds since 1970 by the server's clock.
        max_age_s: features more than ``KEPT_FOR_AGES`` times as old go.
        most: of so many items at most; the oldest features go.

    Raises:
        TryLater: the page makes no sense; nothing of it is stored.
    """
    rows = _checked(ahead.features, after)
    with outbox.writing() as db:
        db.executemany(
            "INSERT INTO feature (item_id, as_of, as_of_s, listing) VALUES (?, ?, ?, ?) ON CONFLICT (item_id) DO "
            "UPDATE SET as_of = excluded.as_of, as_of_s = excluded.as_of_s, listing = excluded.listing "
            "WHERE excluded.as_of_s >= feature.as_of_s",
            rows,
        )
        db.execute("DELETE FROM feature WHERE as_of_s < ?", (server_now_s - KEPT_FOR_AGES * max_age_s,))
        (count,) = db.execute("SELECT COUNT(*) FROM feature").fetchone()
        db.execute(
            "DELETE FROM feature WHERE item_id IN (SELECT item_id FROM feature ORDER BY as_of_s LIMIT ?)",
            (max(0, count - most),),
        )
        db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (_SEQ_FACT, str(ahead.features[-1].seq)))


def held(outbox: Outbox) -> Held:
    """Return how much is here."""
    with outbox.reading() as db:
        (items,) = db.execute("SELECT COUNT(*) FROM feature").fetchone()
        newest = db.execute("SELECT as_of FROM feature ORDER BY as_of_s DESC LIMIT 1").fetchone()
    return Held(items=items, newest=newest and newest[0])


def _checked(features: Sequence[ListingFeatures], after: int) -> list[tuple[str, str, float, str]]:
    rows: list[tuple[str, str, float, str]] = []
    for one in features:
        if not after < one.seq < _MAX_SEQ:
            raise TryLater(f"features: expected a seq above {after}, got {one.seq}; will ask again")
        after = one.seq
        rows.append((one.item_id, one.as_of, _seconds(one.as_of), canonical_json(one.listing).decode()))
    return rows


def _seconds(moment: str) -> float:
    try:
        parsed = datetime.fromisoformat(moment)
        if parsed.tzinfo is not None:
            return parsed.timestamp()
    except (ValueError, OverflowError):
        pass
    raise TryLater(f"features: expected a moment in ISO 8601 with its zone, got {moment[:40]!r}; will ask again")
