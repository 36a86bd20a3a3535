"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _who()
    _what_was_scanned()
    _what_runs()


def _who() -> None:
    op.create_table(
        "people",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_people"),
        sa.UniqueConstraint("token_hash", name="uq_people_token_hash"),
    )
    op.create_table(
        "stations",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("public_key", sa.String(64), nullable=False),
        sa.Column("enrolled_at", sa.String(32), nullable=False),
        sa.Column("last_seen", sa.String(32)),
        sa.Column("report", sa.Text()),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stations"),
        sa.UniqueConstraint("public_key", name="uq_stations_public_key"),
    )
    op.create_table(
        "enrolment_codes",
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.Column("used_by", sa.String(64)),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_enrolment_codes"),
        sa.ForeignKeyConstraint(["used_by"], ["stations.id"], name="fk_enrolment_codes_used_by"),
    )


def _what_was_scanned() -> None:
    op.create_table(
        "photos",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_photos"),
    )
    op.create_table(
        "records",
        sa.Column("record_id", sa.String(64), nullable=False),
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("item_id", sa.String(128), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("audited", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name="pk_records"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.id"], name="fk_records_station_id"),
    )
    op.create_index("ix_records_item_id", "records", ["item_id"])
    op.create_table(
        "cases",
        sa.Column("record_id", sa.String(64), nullable=False),
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("opened_at", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("resolved_at", sa.String(32)),
        sa.Column("seq", sa.Integer()),
        sa.PrimaryKeyConstraint("record_id", name="pk_cases"),
        sa.ForeignKeyConstraint(["record_id"], ["records.record_id"], name="fk_cases_record_id"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.id"], name="fk_cases_station_id"),
        sa.UniqueConstraint("station_id", "seq", name="uq_cases_station_id_seq"),
    )
    op.create_table(
        "labels",
        sa.Column("record_id", sa.String(64), nullable=False),
        sa.Column("person", sa.String(128), nullable=False),
        sa.Column("label", sa.String(16), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("record_id", "person", name="pk_labels"),
        sa.ForeignKeyConstraint(["record_id"], ["cases.record_id"], name="fk_labels_record_id"),
        sa.ForeignKeyConstraint(["person"], ["people.name"], name="fk_labels_person"),
    )


def _what_runs() -> None:
    op.create_table(
        "releases",
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("bundle_id", sa.String(64), nullable=False),
        sa.Column("target", sa.String(300), nullable=False),
        sa.Column("floor", sa.Integer(), nullable=False),
        sa.Column("published_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("release", name="pk_releases"),
        sa.UniqueConstraint("target", name="uq_releases_target"),
    )
    op.create_table(
        "bundle_files",
        sa.Column("bundle_id", sa.String(64), nullable=False),
        sa.Column("path", sa.String(1024), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bundle_id", "path", name="pk_bundle_files"),
    )
    op.create_index("ix_bundle_files_sha256", "bundle_files", ["sha256"])
    op.create_table(
        "tuf_metadata",
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("role", "version", name="pk_tuf_metadata"),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("frozen_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
