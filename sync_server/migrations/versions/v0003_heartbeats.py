"""What stations say of themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("station_id", "seq", name="pk_heartbeats"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.id"], name="fk_heartbeats_station_id"),
    )
    op.create_index("ix_heartbeats_station_id_received_at", "heartbeats", ["station_id", "received_at"])
