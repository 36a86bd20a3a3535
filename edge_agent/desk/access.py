"""Who may use the desk: this very machine, and on a network whoever knows the PIN. Decides nothing else.

A page of another site can neither read (no name but ours in ``Host``: DNS rebinding) nor write (a header that no form
can send, and our own ``Origin``). On a network there is TLS and a PIN, or no desk at all.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from edge_agent.config import Config
from edge_agent.desk.problems import problem_of
from edge_agent.desk.refusals import Forbidden, NotSignedIn, TooOften
from runtime.contracts.errors import StationFault, TouchstoneError

HEADER, HEADER_VALUE = "x-touchstone", "desk"
COOKIE = "touchstone_desk"
SIGNED_IN_FOR_S = 12 * 3600
TRIES_A_MINUTE = 5
MIN_PIN = 6
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN = ("/", "/login", "/healthz", "/openapi.json", "/v1/state")
_FOR_SOFTWARE = "/scans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where the desk listens and who may come. ``pin`` and TLS only where ``host`` is not this very machine."""

    host: str
    port: int
    names: frozenset[str]
    pin: str | None
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a decision needs of a request; ``headers`` has small names, ``is_local``: it came from this very machine."""

    method: str
    path: str
    scheme: str
    headers: Mapping[str, str]
    is_local: bool


def read_rules(config: Config) -> Rules:
    """Return the rules that ``agent.toml`` asks for.

    Raises:
        StationFault: the desk would be open to a network without TLS or PIN.
    """
    if config.desk_port > 65535:
        raise StationFault(
            f"desk_port: expected 1 to 65535, or 0 for no desk, got {config.desk_port}; correct agent.toml"
        )
    if is_loopback(config.desk_host):
        return Rules(
            host=config.desk_host, port=config.desk_port, names=LOCAL_NAMES, pin=None, certificate=None, key=None
        )
    where = f"desk_host {config.desk_host!r} is not this very machine"
    if config.desk_certificate is None or config.desk_key is None:
        raise StationFault(
            f"desk: {where}: set desk_certificate and desk_key in agent.toml to PEM files, or desk_host to 127.0.0.1"
        )
    if config.desk_pin is None or len(config.desk_pin) < MIN_PIN:
        raise StationFault(f"desk: {where}: set desk_pin in agent.toml, at least {MIN_PIN} characters")
    certificate, key = Path(config.desk_certificate), Path(config.desk_key)
    names = LOCAL_NAMES | {config.desk_host, socket.gethostname().lower()} | _names_in(certificate)
    return Rules(
        host=config.desk_host, port=config.desk_port, names=names, pin=config.desk_pin, certificate=certificate, key=key
    )


def decide(asked: Asked, rules: Rules, *, signed_in: bool) -> None:
    """Return if a request may be answered.

    Raises:
        Forbidden: it came under another name, or from another site.
        NotSignedIn: the PIN comes first.
    """
    host = asked.headers.get("host", "")
    if not _is_ours(_name_in(host), rules):
        raise Forbidden(f"Host {host[:80]!a}: this desk has another name; open it by the station's own address")
    origin = asked.headers.get("origin")
    if origin is not None and origin.lower() != f"{asked.scheme}://{host}".lower():
        raise Forbidden("Origin: another site sent this request; open the desk's own page")
    if asked.method not in ("GET", "HEAD"):
        is_software = asked.path == _FOR_SOFTWARE and origin is None
        if not is_software and asked.headers.get(HEADER) != HEADER_VALUE:
            raise Forbidden(f"header: expected 'X-Touchstone: {HEADER_VALUE}', without which nothing is changed")
    if asked.path == "/metrics" and not asked.is_local:
        raise Forbidden("metrics: for this very machine only")
    is_open = asked.path in _OPEN or asked.path.startswith("/static/")
    if not (is_open or signed_in):
        raise NotSignedIn("sign-in: send the PIN to /login first")


class Door:
    """Opens by a PIN, and knows again whom it let in. Its secret dies with the process. Thread-safe."""

    def __init__(self, pin: str | None, clock: Callable[[], float] = time.time) -> None:
        self._pin = pin
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._tries: deque[float] = deque(maxlen=TRIES_A_MINUTE)
        self._lock = threading.Lock()

    @property
    def has_pin(self) -> bool:
        """Whether anybody has to sign in."""
        return self._pin is not None

    def enter(self, pin: str) -> str:
        """Return the cookie of who knows the PIN.

        Raises:
            TooOften: there were too many wrong ones within a minute, whoever sent them.
            Forbidden: it is wrong.
        """
        with self._lock:
            if len(self._tries) == TRIES_A_MINUTE and self._clock() - self._tries[0] < 60.0:
                raise TooOften("sign-in: too many wrong PINs; wait a minute")
            if self._pin is None or not hmac.compare_digest(_hashed(pin), _hashed(self._pin)):
                self._tries.append(self._clock())
                raise Forbidden("sign-in: the PIN is wrong; it is desk_pin in agent.toml")
        until = str(int(self._clock()) + SIGNED_IN_FOR_S)
        return f"{until}.{self._signature(until)}"

    def knows(self, cookies: str) -> bool:
        """Tell whether a ``Cookie`` header holds a cookie of ours that still counts."""
        if self._pin is None:
            return True
        try:
            morsel = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return False
        until, _, signature = (morsel.value if morsel else "").partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(until).encode()):
            return False
        return int(until) > self._clock()

    def _signature(self, until: str) -> str:
        return hmac.digest(self._secret, until.encode(), "sha256").hex()


class Access:
    """ASGI middleware: lets in whom the rules let in."""

    def __init__(self, app: ASGIApp, rules: Rules, door: Door) -> None:
        self._app = app
        self._rules = rules
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope["client"]
        asked = Asked(
            method=scope["method"],
            path=scope["path"],
            scheme=scope["scheme"],
            headers=headers,
            is_local=client is not None and is_loopback(client[0]),
        )
        signed_in = asked.is_local or self._door.knows(headers.get("cookie", ""))
        try:
            decide(asked, self._rules, signed_in=signed_in)
        except TouchstoneError as error:
            await problem_of(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["signed_in"] = signed_in
        await self._app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Tell whether an address is this very machine's."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _name_in(host: str) -> str:
    """Return the name in a ``Host`` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _is_ours(name: str, rules: Rules) -> bool:
    if name in rules.names or any(
        known.startswith("*.") and name.partition(".")[2] == known[2:] for known in rules.names
    ):
        return True
    if rules.pin is None:
        return False
    try:  # an address is no name that somebody else could point here
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _names_in(certificate: Path) -> frozenset[str]:
    """Return the names that a browser accepts the certificate for."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except OSError as error:
        raise StationFault(f"desk_certificate {certificate}: cannot be read ({error.strerror})") from error
    except x509.ExtensionNotFound:
        return frozenset()
    except ValueError as error:
        raise StationFault(f"desk_certificate {certificate}: expected a PEM certificate ({error})") from error
    return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _hashed(pin: str) -> bytes:
    return hashlib.sha256(pin.encode("utf-8", "surrogatepass")).digest()
