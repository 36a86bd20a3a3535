"""Asks a desk by ``http.client``: over the network by its address, or over a home's socket file."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent.desk.ask import ANSWER_WITHIN_S, MAX_ANSWER_BYTES, Post, no_answer
from edge_agent.desk.socket_file import short_path
from runtime.contracts.errors import Unsupported


class SocketFile(http.client.HTTPConnection):
    """A connection to the daemon of a home, by the socket file that lies there."""

    def __init__(self, file: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_WITHIN_S)
        self._file = file

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with short_path(self._file) as short:
            self.sock.connect(short)


def connection_to(url: str) -> http.client.HTTPConnection:
    """Return a connection to a desk by its address.

    Raises:
        Unsupported: it is no http or https address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unsupported(f"--url {url!r}: expected http://HOST:PORT")
    kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
    return kind(parts.hostname, port, timeout=ANSWER_WITHIN_S)


def is_there(connection: http.client.HTTPConnection) -> bool:
    """Tell whether anybody listens."""
    try:
        connection.connect()
    except OSError:
        return False
    connection.close()
    return True


def by_connection(connection: http.client.HTTPConnection) -> Post:
    """Return how to reach a desk by a connection, which serves once."""

    def post(content_type: str, body: bytes) -> tuple[int, bytes] | None:
        try:
            connection.connect()
        except OSError:
            return None
        try:
            connection.request("POST", "/scans", body, {"Content-Type": content_type})
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise no_answer(type(error).__name__) from error
        finally:
            connection.close()

    return post
