"""Tells systemd how this process stands: one datagram each, as sd_notify(3) says. Silent where nobody listens.

Nothing here ever fails the station: what cannot be said is dropped. A socket that is no AF_UNIX path is not spoken to.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

_PATIENCE_S = 1.0


class Notifier:
    """The way to the service manager that started this process, if one did."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` of this process' environment.

        Attributes:
            watchdog_s: within so many seconds systemd wants each next ping (sd_watchdog_enabled(3)); ``None``: never.
        """
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environment)
        self._status = ""

    def ready(self, status: str) -> None:
        """Say that the start is over; with ``Type=notify``, systemd waits for this."""
        self._status = status
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def stopping(self) -> None:
        """Say that the process is about to end."""
        self._status = "stopping"
        self._send("STOPPING=1", "STATUS=stopping")

    def ping(self) -> None:
        """Say that all goes on; without it for ``watchdog_s``, systemd kills and restarts the process."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def status(self, status: str) -> None:
        """Say how the process stands, in one line, for ``systemctl status``; the same again is not sent."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={_one_line(status)}")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(_PATIENCE_S)
            out.sendto("\n".join(assignments).encode(errors="replace"), self._address)


def _address(name: str) -> str | None:
    if name.startswith("@"):
        return "\0" + name[1:]  # an abstract socket, unix(7)
    return name if name.startswith("/") else None


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isdigit() or int(usec) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(usec) / 1e6


def _one_line(text: str) -> str:
    return " ".join(text.split())
