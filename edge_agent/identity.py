"""Who this station is: what enrolment gave, in one small file. Standard library only, so that ``scan`` starts fast.

The private key is not here; see ``edge_agent.device_key``.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from edge_agent.home import Home
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.durable import write_durably
from runtime.contracts.errors import StationFault, Untrusted
from runtime.contracts.records import StationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An enrolled station. ``audit_key`` (hex) foretells the audit lottery: it stays out of logs and records."""

    station_id: StationId
    name: str
    server: str
    audit_key: str = field(repr=False)
    audit_share: float


def read_identity(home: Home) -> Identity | None:
    """Return who this station is, or None before enrolment.

    Raises:
        StationFault: the file is there but cannot be used.
    """
    try:
        identity = decode(
            Identity, parse_json(home.identity_file.read_bytes(), home.identity_file.name), home.identity_file.name
        )
        bytes.fromhex(identity.audit_key)
    except FileNotFoundError:
        return None
    except (OSError, Untrusted, ValueError) as error:
        raise StationFault(f"{home.identity_file}: cannot be used ({error}); restore it, or enrol anew") from error
    return identity


def require_identity(home: Home) -> Identity:
    """Return who this station is.

    Raises:
        StationFault: it is not enrolled.
    """
    identity = read_identity(home)
    if identity is None:
        raise StationFault(
            f"{home.root}: this station is not enrolled; run 'touchstone-agent enrol --server URL --code CODE' first"
        )
    return identity


def write_identity(home: Home, identity: Identity) -> None:
    """Store who this station is, durably; from here on it counts as enrolled."""
    write_durably(home.identity_file, canonical_json(identity), mode=0o600)


def check_server_url(url: str) -> str:
    """Return ``url`` without a trailing slash if a station may talk to it: https, or plain http to this very machine.

    Raises:
        StationFault: it is neither.
    """
    parts = urlsplit(url)
    try:
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine or parts.query or parts.fragment:
        raise StationFault(f"server address: expected https://HOST[:PORT], got {url!r}")
    if parts.username or parts.password:
        raise StationFault("server address: a user name or password has no place in it; the enrolment code is enough")
    if parts.scheme == "http" and not is_loopback(url):
        raise StationFault(f"server address: expected https://, got {url!r}; plain http is for this very machine only")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Tell whether ``url`` names this very machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
