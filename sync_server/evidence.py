"""What proves, later and to anybody, what a station said that it runs: its last report, with the token that signed it.

The token is a JWT of the station's own key over the body's hash; a station's id follows from its first key. So the
server cannot have made it up, and the station attests it: no more is claimed. Of a station whose device was replaced,
only the server says that the key is its.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from runtime.contracts.codec import decode, parse_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Untrusted
from runtime.contracts.records import StationId
from runtime.contracts.sync import StationReport, request_claims
from sync_server.auth import verified_claims
from sync_server.refusals import NotFound, Unauthenticated
from sync_server.schema import STATIONS

REPORT_PATH = "/v1/station/report"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReport:
    """A report's bytes as they came, and the token that came with them."""

    body: bytes
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that ``proved`` needs; ``public_key`` in hex, ``body`` as text of the very bytes that were signed."""

    station_id: StationId
    public_key: str
    body: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedReport:
    """What a station has attested.

    Attributes:
        report: it.
        signed_at: when, by the server's time as the station knew it, ISO 8601.
        key_follows: its id follows from the key; False: its device was replaced, and the server vouches for the key.
    """

    report: StationReport
    signed_at: str
    key_follows: bool


def evidence_of(connection: Connection, station_id: StationId) -> Evidence:
    """Return the evidence of a station's last report.

    Raises:
        NotFound: there is no such station, or it has not reported since evidence is kept.
    """
    row = connection.execute(select(STATIONS).where(STATIONS.c.id == station_id)).one_or_none()
    if row is None or row.report_token is None:
        raise NotFound(f"station {station_id[:40]!r}: it is not enrolled here, or has signed no report yet")
    body = bytes(row.report_body).decode()
    return Evidence(station_id=station_id, public_key=row.public_key, body=body, token=row.report_token)


def station_id_of(public_key: str) -> StationId:
    """Return the id of the station that holds a key: it follows from the key."""
    return StationId("st-" + sha256_hex(bytes.fromhex(public_key))[:16])


def proved(evidence: Evidence) -> ProvedReport:
    """Verify evidence with nothing but itself.

    Raises:
        Untrusted: the station did not sign this.
    """
    try:
        claims = verified_claims(evidence.token, evidence.public_key)
        signed_s = int(claims["iat"])
        moment = datetime.fromtimestamp(signed_s, UTC)
    except (Unauthenticated, KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise Untrusted(f"evidence of {evidence.station_id}: the token is not signed by this key") from error
    body = evidence.body.encode()
    expected = request_claims(evidence.station_id, "PUT", REPORT_PATH, sha256_hex(body), signed_s)
    if claims != expected:
        raise Untrusted(f"evidence of {evidence.station_id}: the token was signed for another report or station")
    key_follows = station_id_of(evidence.public_key) == evidence.station_id
    report = decode(StationReport, parse_json(body, "report"), "report")
    return ProvedReport(report=report, signed_at=moment.isoformat(), key_follows=key_follows)
