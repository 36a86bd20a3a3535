"""Serves the desk from the daemon's own event loop: on a socket file of the home, and where ``agent.toml`` says.

Imported once the station can scan. A port that is taken, or settings that cannot be, are told; the station scans on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_agent.agent import Parts
from edge_agent.desk.access import Rules, read_rules
from edge_agent.desk.app import build_app, build_desk
from edge_agent.desk.services import Desk
from edge_agent.desk.socket_file import short_path
from edge_agent.journal import note
from runtime.contracts.errors import StationFault, TouchstoneError

MOST_CONNECTIONS = 64
"""So that nobody on a network can use up the files that scanning needs."""
DRAIN_S = 10
_AGAIN_AFTER_S = 30.0
_TIDY_EVERY_S = 300.0

UntilStopped = Callable[[], Awaitable[object]]


async def serve(
    parts: Parts, stopping: threading.Event, until_stopped: UntilStopped, on_record: Callable[[], None]
) -> None:
    """Serve until stopped; requests in hand are answered first.

    Args:
        parts: the daemon's.
        stopping: set when the agent stops.
        until_stopped: waits for the same.
        on_record: called after each decision.
    """
    logging.getLogger().addHandler(_ToJournal(logging.WARNING))
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # who sent a bad form was told
    desk = build_desk(parts, stopping, on_record)
    try:
        await asyncio.gather(
            _on_socket_file(desk, until_stopped), _on_port(desk, until_stopped), _tidy(desk, until_stopped)
        )
    finally:
        if desk.camera is not None:
            await asyncio.to_thread(desk.camera.close)


class _ToJournal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write what a library has to say as one line of the log."""
        note("library", name=record.name, why=record.getMessage()[:500])


class _Server(uvicorn.Server):
    """Leaves the signals to the supervisor, and sleeps until it is told to stop."""

    def __init__(self, config: uvicorn.Config, until_stopped: UntilStopped) -> None:
        super().__init__(config)
        self._until_stopped = until_stopped

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def main_loop(self) -> None:
        """Wait; the original wakes ten times a second for a header that ``Headers`` writes."""
        await self.on_tick(0)
        await self._until_stopped()


class _Protocol(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()


async def _on_socket_file(desk: Desk, until_stopped: UntilStopped) -> None:
    path = desk.parts.home.desk_socket
    try:
        listening = _bound_file(path)
    except OSError as error:
        note("needs_a_person", loop="desk", why=f"{path}: {error.strerror}; 'scan' works by itself meanwhile")
        return
    try:
        await _Server(_config(build_app(desk, None), None), until_stopped).serve([listening])
    finally:
        path.unlink(missing_ok=True)


async def _on_port(desk: Desk, until_stopped: UntilStopped) -> None:
    try:
        rules = read_rules(desk.parts.config)
        config = _config(build_app(desk, rules), rules)
    except TouchstoneError as error:
        note("needs_a_person", loop="desk", why=str(error))
        return
    told = False
    while not desk.stopping.is_set():
        try:
            listening = _bound_port(rules)
        except OSError as error:
            if not told:
                why = f"desk: {rules.host} port {rules.port}: {error.strerror or error}; set desk_port in agent.toml"
                note("needs_a_person", loop="desk", why=f"{why}, or end the program that uses it")
            told = True
            await _wait(until_stopped, _AGAIN_AFTER_S)
            continue
        scheme = "http" if rules.certificate is None else "https"
        note("desk", url=f"{scheme}://{f'[{rules.host}]' if ':' in rules.host else rules.host}:{rules.port}/")
        await _Server(config, until_stopped).serve([listening])


async def _tidy(desk: Desk, until_stopped: UntilStopped) -> None:
    while not desk.stopping.is_set():
        try:
            await desk.blocking(desk.sessions.tidy)
        except TouchstoneError as error:
            note("failed", loop="desk", why=str(error))
        await _wait(until_stopped, _TIDY_EVERY_S)


async def _wait(until_stopped: UntilStopped, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(until_stopped(), seconds)


def _config(app: ASGIApp, rules: Rules | None) -> uvicorn.Config:
    """Return what to serve with.

    Raises:
        StationFault: certificate and key cannot be used.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        ssl_certfile=rules.certificate if rules else None,
        ssl_keyfile=rules.key if rules else None,
        ssl_keyfile_password="none",  # noqa: S106 - so that a key with a password fails and asks nobody
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise StationFault(
            f"desk: desk_certificate and desk_key cannot be used ({error}); give a PEM certificate and its "
            "key, without a password"
        ) from error
    return config


def _bound_file(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # the lock of the home is ours, so nobody listens there
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path) as short:
        listening.bind(short)
        os.chmod(short, 0o600)  # noqa: PTH101 - nobody can connect before it listens
    listening.listen()
    return listening


def _bound_port(rules: Rules) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(rules.host, rules.port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except BaseException:
        listening.close()
        raise
    return listening
