"""Devices that take over a station, and listing features that are sent ahead."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("enrolment_codes", sa.Column("replaces", sa.String(64)))
    op.create_table(
        "revoked_keys",
        sa.Column("public_key", sa.String(64), nullable=False),
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("revoked_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("public_key", name="pk_revoked_keys"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.id"], name="fk_revoked_keys_station_id"),
    )
    op.create_index(
        "ix_records_station_id_received_at_record_id", "records", ["station_id", "received_at", "record_id"]
    )
    op.create_table(
        "features",
        sa.Column("item_id", sa.String(128), nullable=False),
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.String(32), nullable=False),
        sa.Column("listing", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "station_id", name="pk_features"),
    )
    op.create_index("ix_features_station_id_seq", "features", ["station_id", "seq"])
    op.create_table(
        "counters",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
