"""The tables, as SQLAlchemy Core sees them. The migrations build them; a test holds the two equal.

Moments are ISO 8601 text in UTC with microseconds, so that text order is time order on every database.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

PEOPLE = Table(
    "people",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
)

STATIONS = Table(
    "stations",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("public_key", String(64), nullable=False, unique=True),
    Column("enrolled_at", String(32), nullable=False),
    Column("last_seen", String(32)),
    Column("report", Text),
    Column("answers", Integer, nullable=False, default=0),
    Column("report_body", LargeBinary),
    Column("report_token", Text),
)

HEARTBEATS = Table(
    "heartbeats",
    METADATA,
    Column("station_id", ForeignKey("stations.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("received_at", String(32), nullable=False),
    Index(None, "station_id", "received_at"),
)

ENROLMENT_CODES = Table(
    "enrolment_codes",
    METADATA,
    Column("secret_hash", String(64), primary_key=True),
    Column("expires_at", String(32), nullable=False),
    Column("used_by", ForeignKey("stations.id")),
    Column("replaces", String(64)),
)

REVOKED_KEYS = Table(
    "revoked_keys",
    METADATA,
    Column("public_key", String(64), primary_key=True),
    Column("station_id", ForeignKey("stations.id"), nullable=False),
    Column("revoked_at", String(32), nullable=False),
)

PHOTOS = Table(
    "photos",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("size", Integer, nullable=False),
    Column("media_type", String(32), nullable=False),
)

RECORDS = Table(
    "records",
    METADATA,
    Column("record_id", String(64), primary_key=True),
    Column("station_id", ForeignKey("stations.id"), nullable=False),
    Column("item_id", String(128), nullable=False, index=True),
    Column("verdict", String(16), nullable=False),
    Column("audited", Boolean, nullable=False),
    Column("body", Text, nullable=False),
    Column("received_at", String(32), nullable=False),
    Index(None, "station_id", "received_at", "record_id"),
)

CASES = Table(
    "cases",
    METADATA,
    Column("record_id", ForeignKey("records.record_id"), primary_key=True),
    Column("station_id", ForeignKey("stations.id"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("opened_at", String(32), nullable=False),
    Column("outcome", String(16)),
    Column("resolved_at", String(32)),
    Column("seq", Integer),
    Column("reopened_at", String(32)),
    UniqueConstraint("station_id", "seq"),
)

LABELS = Table(
    "labels",
    METADATA,
    Column("record_id", ForeignKey("cases.record_id"), primary_key=True),
    Column("person", ForeignKey("people.name"), primary_key=True),
    Column("label", String(16), nullable=False),
    Column("at", String(32), nullable=False),
)

OBJECTIONS = Table(
    "objections",
    METADATA,
    Column("record_id", ForeignKey("records.record_id"), primary_key=True),
    Column("text", Text, nullable=False),
    Column("made_at", String(32), nullable=False),
    Column("received_at", String(32), nullable=False),
)

RELEASES = Table(
    "releases",
    METADATA,
    Column("release", Integer, primary_key=True, autoincrement=False),
    Column("name", String(128), nullable=False),
    Column("bundle_id", String(64), nullable=False),
    Column("target", String(300), nullable=False, unique=True),
    Column("floor", Integer, nullable=False),
    Column("published_at", String(32), nullable=False),
)

BUNDLE_FILES = Table(
    "bundle_files",
    METADATA,
    Column("bundle_id", String(64), primary_key=True),
    Column("path", String(1024), primary_key=True),
    Column("sha256", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
)

TUF_METADATA = Table(
    "tuf_metadata",
    METADATA,
    Column("role", String(16), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("bytes", LargeBinary, nullable=False),
)

FEATURES = Table(
    "features",
    METADATA,
    Column("item_id", String(128), primary_key=True),
    Column("station_id", String(64), primary_key=True),  # empty: for every station
    Column("seq", BigInteger, nullable=False),
    Column("as_of", String(32), nullable=False),
    Column("listing", Text, nullable=False),
    Index(None, "station_id", "seq"),
)

COUNTERS = Table(
    "counters",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

DATASETS = Table(
    "datasets",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("frozen_at", String(32), nullable=False),
)


def stamp(moment: datetime) -> str:
    """Return ``moment`` (timezone-aware) as the text that the tables hold.

    Raises:
        ValueError: ``moment`` has no timezone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"expected a timezone-aware moment, got {moment!r}")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def utc_now() -> datetime:
    """Return the system clock in UTC; the composition root's default ``now``."""
    return datetime.now(UTC)
