"""Who asks: people by token, stations by a signed request. Decides; never stores a token in the clear.

A station's token is a JWT that it signs itself (EdDSA). Its claims must equal ``request_claims`` of the very request it
came with, so a stolen token opens no other door. The library's own clock checks are off: time is a parameter here.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, select

from runtime.contracts.errors import Unsupported
from runtime.contracts.export import Export, export_claims
from runtime.contracts.records import StationId, check_name
from runtime.contracts.sync import TOKEN_LIFETIME_S, request_claims
from sync_server.refusals import ClockOff, Conflict, Forbidden, Unauthenticated
from sync_server.schema import PEOPLE, REVOKED_KEYS, STATIONS
from sync_server.store import insert_new

Role = Literal["admin", "releaser", "reviewer", "viewer"]
ROLES: tuple[Role, ...] = ("admin", "releaser", "reviewer", "viewer")
CLOCK_LEEWAY_S = 5
MAX_SECONDS = 2**40
"""No clock says more seconds since 1970; arithmetic with what a token says stays finite."""
_UNCHECKED = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False, "verify_iss": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who may sign in."""

    name: str
    role: Role

    def must_be(self, *roles: Role) -> None:
        """Refuse unless this person is an admin or has one of ``roles``.

        Raises:
            Forbidden: they are neither.
        """
        if self.role != "admin" and self.role not in roles:
            raise Forbidden(f"{self.name}: this needs the role {' or '.join((*roles, 'admin'))}, got {self.role}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """What a station's token must be bound to: upper-case method, path with query as sent, SHA-256 of the body."""

    method: str
    path: str
    body_sha256: str


def token_hash(token: str) -> str:
    """Return what is stored of a token or enrolment secret; both are random, so that a plain hash is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def add_person(connection: Connection, name: str, role: Role) -> str:
    """Add somebody and return their token, the only time that anybody sees it.

    Raises:
        Conflict: there is somebody of that name.
        Unsupported: the name cannot be used, or there is no such role.
    """
    check_name(name, "person")
    if role not in ROLES:
        raise Unsupported(f"role: expected one of {', '.join(ROLES)}, got {role!r}")
    token = f"tsp_{secrets.token_urlsafe(32)}"
    if not insert_new(connection, PEOPLE, {"name": name, "role": role, "token_hash": token_hash(token)}):
        raise Conflict(f"person {name!r}: is already there; choose another name")
    return token


def person_of(connection: Connection, token: str) -> Person:
    """Return whose token this is.

    Raises:
        Unauthenticated: nobody's.
    """
    row = connection.execute(
        select(PEOPLE.c.name, PEOPLE.c.role).where(PEOPLE.c.token_hash == token_hash(token))
    ).one_or_none()
    if row is None:
        raise Unauthenticated("sign-in: this token is not known here; check that you copied all of it")
    return Person(name=row.name, role=row.role)


def station_of(connection: Connection, token: str, request: SignedRequest, now: datetime) -> StationId:
    """Return which station signed this request.

    Raises:
        ClockOff: everything holds but the time.
        Forbidden: it is signed by a device that another one has replaced.
        Unauthenticated: it is not signed by an enrolled station, or was signed for another request.
    """
    station_id, claims, issued_s = _signed_by_station(connection, token)
    expected = request_claims(station_id, request.method, request.path, request.body_sha256, issued_s)
    if dict(claims) != expected:
        wrong = sorted(ascii(name) for name in {*claims, *expected} if claims.get(name) != expected.get(name))
        raise Unauthenticated(f"station token: it was signed for another request ({', '.join(wrong)} differ)")
    age_s = now.timestamp() - issued_s
    if not -CLOCK_LEEWAY_S <= age_s <= TOKEN_LIFETIME_S + CLOCK_LEEWAY_S:
        raise ClockOff(f"station token: its time is {age_s:.0f} s behind the server's; correct by this answer's Date")
    return station_id


def check_export(connection: Connection, export: Export) -> StationId:
    """Return which station signed an export.

    Raises:
        Unauthenticated: it is not signed by an enrolled station, or its listing was changed afterwards.
    """
    station_id, claims, issued_s = _signed_by_station(connection, export.signature)
    if dict(claims) != export_claims(export.listing, issued_s) or station_id != export.listing.station_id:
        raise Unauthenticated("export: its listing is not the one that the station signed; export it again")
    return station_id


def audit_key(secret: bytes, station_id: StationId) -> str:
    """Derive a station's key of the audit lottery, in hex; the same each time."""
    return hmac.digest(secret, b"audit-key:" + station_id.encode(), "sha256").hex()


def _signed_by_station(connection: Connection, token: str) -> tuple[StationId, Mapping[str, Any], int]:
    station_id = _issuer(token)
    key = connection.execute(select(STATIONS.c.public_key).where(STATIONS.c.id == station_id)).scalar_one_or_none()
    if key is None:
        raise Unauthenticated("station token: its station is not enrolled here; enrol it with a new code")
    try:
        claims = _decode(token, key)
    except Unauthenticated:
        _refuse_replaced(connection, token, station_id)
        raise
    issued_s = claims.get("iat")
    if type(issued_s) is not int or abs(issued_s) > MAX_SECONDS:
        raise Unauthenticated("station token: iat must be whole seconds since 1970")
    return station_id, claims, issued_s


def verified_claims(token: str, public_key: str) -> Mapping[str, Any]:
    """Return what a token says, whenever that was.

    Args:
        token: a JWT.
        public_key: the raw Ed25519 key in hex.

    Raises:
        Unauthenticated: this key did not sign it.
    """
    return _decode(token, public_key)


def _issuer(token: str) -> StationId:
    try:
        return StationId(check_name(str(_decode(token, None).get("iss")), "iss"))
    except Unsupported as error:
        raise Unauthenticated(f"station token: {error}") from error


def _refuse_replaced(connection: Connection, token: str, station_id: StationId) -> None:
    for row in connection.execute(select(REVOKED_KEYS).where(REVOKED_KEYS.c.station_id == station_id)):
        with contextlib.suppress(Unauthenticated):
            _decode(token, row.public_key)
            raise Forbidden(
                f"station {station_id}: another device took its place on {row.revoked_at[:10]}, so this one is not "
                "let in any more; enrol it with a new code and a new --home to make it a station of its own"
            )


def _decode(token: str, public_key: str | None) -> Mapping[str, Any]:
    try:
        if public_key is None:
            return jwt.decode(token, options={**_UNCHECKED, "verify_signature": False})  # type: ignore[arg-type]
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        return jwt.decode(token, key=key, algorithms=["EdDSA"], options=_UNCHECKED)  # type: ignore[arg-type]
    except jwt.PyJWTError as error:
        raise Unauthenticated(f"station token: its form or signature is wrong ({type(error).__name__})") from error
