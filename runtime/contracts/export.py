"""What a station writes to a folder for a server that it cannot reach, version 1: on a USB stick, for example.

::

    FOLDER/
      export.json              an ``Export``: what is here, signed with the station's key; written last
      records/RECORD_ID.json   a ``Record``
      objections/RECORD_ID.json  an ``Objection`` to that record
      photos/SHA256            a photo

Each file's hash is in the signed listing, so nothing else in the folder counts, and nothing in it can be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.records import StationId

EXPORT_AUDIENCE = "touchstone-export"
LISTING_FILE = "export.json"
RECORDS, OBJECTIONS, PHOTOS = "records", "objections", "photos"
MAX_LISTING_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What an export holds.

    Attributes:
        station_id: whose it is.
        made_at: ISO 8601 in UTC, by the station's clock.
        records: record id to the SHA-256 of its file.
        objections: the same, of objections.
        photos: SHA-256 of each photo.
    """

    v: Literal[1] = 1
    station_id: StationId
    made_at: str
    records: Mapping[str, str]
    objections: Mapping[str, str]
    photos: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """``export.json``: the listing, and a JWT (EdDSA, the station's own key) with the claims of ``export_claims``."""

    listing: Listing
    signature: str


def export_claims(listing: Listing, now_s: int) -> dict[str, str | int]:
    """Return the JWT claims that bind a listing; no request can be made with them, and they do not expire.

    Args:
        listing: ``lsh`` is the SHA-256 of its canonical JSON, ``iss`` its station.
        now_s: seconds since 1970 (``iat``), by the station's clock.
    """
    return {
        "iss": listing.station_id,
        "aud": EXPORT_AUDIENCE,
        "iat": now_s,
        "lsh": sha256_hex(canonical_json(listing)),
    }
