"""Wire messages, version 1, between station and server, and what a signed release says.

All bodies are JSON of these dataclasses. Errors are RFC 9457 problem details. A request of a station carries a JWT
(EdDSA, the station's own key) with the claims of ``request_claims``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported
from runtime.contracts.records import BundleId, ItemId, Label, ModelRef, Record, RecordId, StationId

TOKEN_AUDIENCE = "touchstone-sync"  # noqa: S105 - a name, not a secret
TOKEN_LIFETIME_S = 60
MAX_CHUNK_BYTES = 8 * 1024 * 1024
MAX_RECORD_BYTES = 256 * 1024
MAX_FEATURES_PAGE = 200
MAX_LISTING_BYTES = 16 * 1024
"""Of one item's features as canonical JSON, so that a page stays below what a station reads of one answer."""
MAX_HEARTBEAT_BYTES = 16 * 1024
SCORE_BINS = 20
MAX_OBJECTION_CHARS = 2000
MIN_PATCHED_BYTES, MAX_PATCHED_BYTES = 16 * 1024, 128 * 1024 * 1024
"""Sizes of files that travel as patches: below, asking costs more than it saves; above, a station lacks the memory."""
NOTHING = sha256_hex(b"")
"""What a patch of a file that is new starts from: plain compression."""
SIGNED_AT = "x-signed-at"
"""Of TUF metadata: when it was signed, ISO 8601 in UTC, by the clock of the signer. Signed with all the rest."""
UPLOAD_OFFSET = "Upload-Offset"
"""Header of a photo's resumable upload: how many of its bytes are there; of ``PATCH``, where its body begins.

After tus 1.0 (https://tus.io/protocols/resumable-upload) and draft-ietf-httpbis-resumable-upload; but a photo's address
is its hash, so nothing needs creating, and an unfinished one answers ``HEAD`` with 404, as agents that know of no
offsets expect.
"""
UPLOAD_LENGTH = "Upload-Length"
"""Header of ``PATCH``: the size of the whole photo in bytes."""

_NOT_TEXT = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")
_CODE = re.compile(r"([A-Z2-7]{16})-([0-9a-f]{32})")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolRequest:
    """``POST /v1/enrol``: the code's ``secret``, and the raw Ed25519 ``public_key`` in hex (64 digits)."""

    secret: str
    public_key: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolAnswer:
    """What a station learns once: its id, and the key (hex) and share of the audit lottery."""

    station_id: StationId
    audit_key: str
    audit_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The experts' word on one case. ``seq`` rises for each station; ``resolved_at`` is ISO 8601 in UTC."""

    seq: int
    record_id: RecordId
    item_id: ItemId
    outcome: Label
    resolved_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """``GET /v1/answers?after=SEQ``: at most 500, oldest first."""

    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StationHistory:
    """``GET /v1/station/history?after=RECORD_ID``: this station's records at the server, in the order of their coming.

    A device that takes over a station's identity begins with them. ``total`` counts all of them; no records: the end.
    """

    records: tuple[Record, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFeatures:
    """Listing features of one item, sent ahead of its scan. ``seq`` only rises; ``as_of`` is ISO 8601 in UTC."""

    seq: int
    item_id: ItemId
    as_of: str
    listing: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesAhead:
    """``GET /v1/station/features?after=SEQ&limit=N``: what was loaded since, oldest first; no more than asked for."""

    features: tuple[ListingFeatures, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """``PUT /v1/records/{record_id}/objection``: a person at the station disagrees with the record's verdict.

    ``text`` is for the expert; ``made_at`` is ISO 8601 in UTC. The record comes before it, and so do its photos.
    """

    text: str
    made_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StationReport:
    """``PUT /v1/station/report``: what the station has shown that it runs, and how its outbox stands.

    Attributes:
        bundle_id: what runs; ``release`` and ``variant`` belong to it.
        release: its counter.
        variant: which of its variants.
        state: how the newest release that this station knows stands: it runs (``running``), runs and is being watched
            (``watch``), looks at the same photos beside (``shadow``), is ready and waits for its hour (``waits``), was
            refused (``refused``), or ran and was taken back (``reverted``); ``no-model``: nothing runs.
        detail: in words, with the release that ``state`` is about.
        recorded: scans.
        acked: those that the server has taken.
        pending: those that it has not.
    """

    bundle_id: BundleId | None
    release: int | None
    variant: str | None
    state: Literal["running", "refused", "no-model", "waits", "shadow", "watch", "reverted"]
    detail: str
    recorded: int
    acked: int
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBins:
    """How often a score of one release fell into each of ``SCORE_BINS`` equal parts of [0, 1], upper ends included."""

    release: int
    score: Literal["p_counterfeit", "p_fraud"]
    bins: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """``PUT /v1/station/heartbeats/{seq}``: what a station has counted, and how it stood. No photo, item or record.

    Counts run from the start of the process and only rise until the next, so a message that is lost loses nothing.

    Attributes:
        made_at: ISO 8601 in UTC, by the station's clock.
        started_at: when its process started; where it differs from the message before, counts began anew.
        uptime_s: seconds between the two, by a clock that does not jump.
        model: what runs; ``None``: nothing yet.
        versions: of the agent, of Python, and of the bundle's engines.
        counters: series, as the station's own metrics name it, to its count.
        gauges: series to its value at that moment.
        latencies_us: what was timed to its sketch (``runtime.contracts.sketch``), bucket to count, of microseconds.
        scores: what the model said, by release.
    """

    v: Literal[1] = 1
    made_at: str
    started_at: str
    uptime_s: float
    model: ModelRef | None
    versions: Mapping[str, str]
    counters: Mapping[str, int]
    gauges: Mapping[str, float]
    latencies_us: Mapping[str, Mapping[str, int]]
    scores: tuple[ScoreBins, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """``GET /v1/station/assignment``: the TUF target that this station should run; ``None``: nothing published yet.

    Only a hint: the station takes nothing that the offline signature does not cover, and nothing below its floor.
    """

    target: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseInfo:
    """The ``custom`` field of a bundle's TUF target: signed offline together with the manifest's hash.

    A station refuses ``release`` below the highest ``floor`` that it has committed.
    """

    name: str
    release: int
    floor: int


def check_objection(objection: Objection) -> Objection:
    """Return ``objection`` if both ends can keep it.

    Raises:
        Unsupported: its text is empty, too long, or has control characters other than the line feed; or its time is
            no time.
    """
    text = objection.text
    if not text.strip() or len(text) > MAX_OBJECTION_CHARS or _NOT_TEXT.search(text):
        raise Unsupported(
            f"objection: expected 1 to {MAX_OBJECTION_CHARS} characters of text, got {len(text)}; say in a few words "
            "what you saw"
        )
    try:
        if len(objection.made_at) <= 32 and datetime.fromisoformat(objection.made_at).tzinfo is not None:
            return objection
    except ValueError:
        pass
    raise Unsupported(f"objection: made_at: expected ISO 8601 in UTC, got {objection.made_at[:40]!a}")


def moment(text: object) -> datetime | None:
    """Return the moment that ISO 8601 text with a timezone names; ``None`` for anything else."""
    try:
        parsed = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return parsed if parsed is not None and parsed.tzinfo else None


def patch_path(old_sha256: str, new_sha256: str) -> str:
    """Return where the server answers a patch: zstd, the old file's bytes as its prefix (``zstd --patch-from``)."""
    return f"/v1/patches/{old_sha256}/{new_sha256}"


def target_path(release: ReleaseInfo) -> str:
    """Return the TUF target path of a release's manifest."""
    return f"{release.name}/{release.release}/manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentCode:
    """A one-time code: ``secret`` proves the right to enrol, ``root_sha256`` (first 32 digits) pins the TUF root."""

    secret: str
    root_sha256: str

    def __str__(self) -> str:
        return f"{self.secret}-{self.root_sha256}"


def parse_enrolment_code(text: str) -> EnrolmentCode:
    """Parse what an admin handed over.

    Raises:
        Unsupported: it does not look like a code.
    """
    match = _CODE.fullmatch(text.strip())
    if match is None:
        raise Unsupported(
            "enrolment code: expected 16 letters or digits, a dash and 32 hex digits; copy the whole line that "
            "'touchstone-server enrolment-code' printed"
        )
    return EnrolmentCode(secret=match[1], root_sha256=match[2])


def request_claims(station_id: StationId, method: str, path: str, body_sha256: str, now_s: int) -> dict[str, str | int]:
    """Return the JWT claims that bind one request.

    Args:
        station_id: who asks (``iss``).
        method: upper-case HTTP method (``htm``).
        path: path with query as sent (``htu``).
        body_sha256: SHA-256 of the body in hex, of no bytes where there is none (``bsh``).
        now_s: seconds since 1970 by the server's clock, as the station knows it (``iat``; ``exp`` is 60 s later).
    """
    return {
        "iss": station_id,
        "aud": TOKEN_AUDIENCE,
        "iat": now_s,
        "exp": now_s + TOKEN_LIFETIME_S,
        "htm": method,
        "htu": path,
        "bsh": body_sha256,
    }
