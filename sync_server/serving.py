"""Run the web process: say when it listens, stop cleanly on SIGTERM and Ctrl-C. Writes no access log."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from runtime.contracts.errors import StationFault

GRACE_S = 5


class _AnnouncingServer(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            scheme = "https" if self.config.is_ssl else "http"
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            print(f"ready at {scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)  # noqa: T201


def serve(app: FastAPI, host: str, port: int, certificate: Path | None, key: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        app: what to serve.
        host: address to bind.
        port: 0 lets the system choose.
        certificate: PEM file for TLS, or ``None``.
        key: its private key.

    Raises:
        StationFault: the address cannot be bound, or the certificate cannot be read.
        KeyboardInterrupt: Ctrl-C, after a clean stop.
    """
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise StationFault(f"serve: cannot listen on {host}:{port} ({error}); choose another --port") from error
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    signal.signal(signal.SIGTERM, _exit_cleanly)  # uvicorn raises the signal again once it has stopped
    with listener:
        try:
            _AnnouncingServer(config).run(sockets=[listener])
        except OSError as error:
            raise StationFault(f"serve: {error}") from error


def _exit_cleanly(_: int, __: FrameType | None) -> None:
    sys.exit(0)
