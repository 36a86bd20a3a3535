"""The account of a scan: prediction, verdict, record, and the ids that make everything idempotent."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NewType

from runtime.contracts.codec import canonical_json
from runtime.contracts.errors import Unsupported

StationId = NewType("StationId", str)
ItemId = NewType("ItemId", str)
RecordId = NewType("RecordId", str)
BundleId = NewType("BundleId", str)

Verdict = Literal["authentic", "suspect", "uncertain"]
Label = Literal["genuine", "counterfeit"]

SHOWN: Mapping[Verdict, str] = {
    "authentic": "confirmed",
    "suspect": "not confirmed",
    "uncertain": "sent to an expert",
}
"""What a person is shown; never "fake" before a human agrees."""

MAX_PHOTO_BYTES = 64 * 1024 * 1024

_NAME = re.compile(r"[^\x00-\x1f\x7f/\\\ud800-\udfff]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a verdict is what it is: a stable ``code`` for machines and a ``text`` for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Two calibrated probabilities in [0, 1], kept apart; ``None`` where a scan did not allow one."""

    p_counterfeit: float | None
    p_fraud: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewScore:
    """One photo of a scan: its view, the SHA-256 of its stored bytes, the model's raw logit (``None``: unscored)."""

    view: str
    photo: str
    logit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Which model decided: the SHA-256 of its manifest, its name, its signed release counter, and its variant."""

    bundle_id: BundleId
    name: str
    release: int
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The durable account of one scan; version 2 brought the last two fields.

    Attributes:
        scanned_at: ISO 8601 in UTC, by the station's clock.
        listing: the features that P(fraud) is of, whether they came with the scan or had been sent ahead.
        timings_us: microseconds by step.
        rescan_of: this station's first complete scan of the same item, where there is an earlier one.
        features_as_of: of when ``listing`` is, where it had been sent ahead; ``None`` where it came with the scan.
    """

    v: Literal[1, 2] = 2
    record_id: RecordId
    station_id: StationId
    item_id: ItemId
    scanned_at: str
    verdict: Verdict
    reasons: tuple[Reason, ...]
    prediction: Prediction
    audited: bool
    views: tuple[ViewScore, ...]
    listing: Mapping[str, float | None] | None
    model: ModelRef
    timings_us: Mapping[str, int]
    rescan_of: RecordId | None = None
    features_as_of: str | None = None


def is_case(record: Record) -> bool:
    """Tell whether a human must look: the verdict is not ``authentic``, or the audit lottery drew the scan."""
    return record.verdict != "authentic" or record.audited


def check_name(text: str, what: str) -> str:
    """Return ``text`` if it can be an item or view name: 1 to 128 characters, no slash, no control character.

    Raises:
        Unsupported: it cannot; ``what`` names it in the message.
    """
    if not _NAME.fullmatch(text) or text.startswith("."):
        raise Unsupported(
            f"{what} {text[:40]!a}: expected 1 to 128 characters of valid text, without slashes or control characters, "
            "not starting with a dot; rename it"
        )
    return text


def record_id_of(
    station_id: StationId,
    item_id: ItemId,
    photos: tuple[tuple[str, str], ...],
    listing: Mapping[str, float | None] | None,
) -> RecordId:
    """Derive a record's id from what was scanned, so that scanning it again after a crash makes the same record.

    Args:
        station_id: where it was scanned.
        item_id: what was scanned.
        photos: (view, SHA-256) pairs in any order.
        listing: the listing features, if any.

    Returns:
        64 hex digits.
    """
    subject = [station_id, item_id, sorted(photos), dict(listing) if listing is not None else None]
    return RecordId(hashlib.sha256(canonical_json(subject)).hexdigest())


def content_id(record: Record) -> RecordId:
    """Derive the id that a record of any version must have; see ``record_id_of``.

    Features that had been sent ahead are no part of it: fresher ones, after a crash, must not make a second record.
    """
    photos = tuple((score.view, score.photo) for score in record.views)
    given = record.listing if record.features_as_of is None else None
    return record_id_of(record.station_id, record.item_id, photos, given)


def drawn_for_audit(key: bytes, record_id: RecordId, share: float) -> bool:
    """Draw the audit lottery: true for ``share`` of all ids, by a keyed hash that only key holders can foresee."""
    ticket = hmac.digest(key, record_id.encode(), "sha256")
    return int.from_bytes(ticket[:8], "big") < share * 2**64
