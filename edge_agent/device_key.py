"""The station's Ed25519 key, made on the device, and the short-lived token that signs one request with it.

The key never leaves this machine: the server knows the public half, from enrolment.
"""

from __future__ import annotations

from collections.abc import Mapping

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.home import Home
from runtime.contracts.durable import sha256_hex, write_durably
from runtime.contracts.errors import StationFault
from runtime.contracts.records import StationId
from runtime.contracts.sync import request_claims


class DeviceKey:
    """Signs requests. Construct it with ``load`` or ``load_or_create``."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @property
    def public_hex(self) -> str:
        """The raw public key, 64 hex digits."""
        return self._private.public_key().public_bytes_raw().hex()

    @classmethod
    def load(cls, home: Home) -> DeviceKey:
        """Read the key.

        Raises:
            StationFault: there is none, or it is not 32 bytes in hex.
        """
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(home.key_file.read_text("ascii").strip())))
        except (OSError, ValueError) as error:
            raise StationFault(f"{home.key_file}: the device key cannot be read; restore it, or enrol anew") from error

    @classmethod
    def load_or_create(cls, home: Home) -> DeviceKey:
        """Read the key, or make one: durable, and never readable by others, before this returns."""
        if home.key_file.exists():
            return cls.load(home)
        private = Ed25519PrivateKey.generate()
        write_durably(home.key_file, private.private_bytes_raw().hex().encode("ascii"), mode=0o600)
        return cls(private)

    def token(self, station_id: StationId, method: str, path: str, body: bytes, now_s: int) -> str:
        """Return the bearer token for one request; ``path`` includes the query, ``now_s`` is by the server's clock."""
        return self.sign(request_claims(station_id, method, path, sha256_hex(body), now_s))

    def sign(self, claims: Mapping[str, str | int]) -> str:
        """Return a JWT of these claims, which say what it is for."""
        return jwt.encode(dict(claims), self._private, algorithm="EdDSA")
