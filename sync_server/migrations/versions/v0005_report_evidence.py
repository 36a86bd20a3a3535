"""The last report of a station as it was signed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stations", sa.Column("report_body", sa.LargeBinary()))
    op.add_column("stations", sa.Column("report_token", sa.Text()))
