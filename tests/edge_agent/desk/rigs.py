"""A station with its desk: the daemon as a process, and a client that speaks HTTP to it as the page would."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from edge_agent.desk.ask import Item, as_form
from edge_agent.desk.ask_http import SocketFile
from edge_agent.home import Home
from edge_agent.outbox import Outbox
from runtime.contracts.records import ItemId, RecordId
from runtime.contracts.sync import Answer as ExpertAnswer
from tests.edge_agent.desk import described
from tests.edge_agent.desk_page.conftest import CHROMIUM, FLAGS, film
from tests.edge_agent.rigs import FAST, Daemon, wait_until

OURS: Mapping[str, str] = {"X-Touchstone": "desk"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Client:
    """Asks one desk; ``headers`` go with every request. Each answer must be one that ``openapi.json`` describes."""

    port: int
    host: str = "127.0.0.1"
    headers: Mapping[str, str] = field(default_factory=lambda: dict(OURS))
    tls: ssl.SSLContext | None = None
    answered: set[tuple[str, str]] = field(default_factory=set)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        if self.tls is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        else:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=20, context=self.tls)
        try:
            connection.request(method, path, body, dict(self.headers if headers is None else headers))
            answer = connection.getresponse()
            headers_of_it = {name.lower(): value for name, value in answer.getheaders()}
            data = answer.read()
        finally:
            connection.close()
        operation = described.check(method, path, answer.status, headers_of_it.get("content-type", ""), data)
        if operation and answer.status < 400:
            self.answered.add(operation)
        return Answer(answer.status, headers_of_it, data)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def send(self, method: str, path: str, data: object) -> Answer:
        return self.ask(method, path, json.dumps(data).encode())

    def begin(self, item_id: str) -> str:
        answer = self.send("POST", "/v1/sessions", {"item_id": item_id})
        assert answer.status == 201, answer.body
        return str(answer.json["session_id"])

    def put(self, session_id: str, view: str, photo: bytes, keep: int = 0) -> Any:
        answer = self.ask("PUT", f"/v1/sessions/{session_id}/photos/{view}?keep={keep}", photo)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def finish(self, session_id: str) -> Answer:
        return self.ask("POST", f"/v1/sessions/{session_id}/finish")

    def scan(self, item_id: str, listing: dict[str, float | None] | None = None, **photos: bytes) -> Answer:
        item = Item(item_id=item_id, photos={view: [photo] for view, photo in photos.items()}, listing=listing)
        content_type, body = as_form(item)
        return self.ask("POST", "/scans", body, {"Content-Type": content_type})


def set_desk(home: Home, port: int, **more: object) -> None:
    """Write ``agent.toml`` with a desk at this port."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in more.items()]
    (home.root / "agent.toml").write_text(
        FAST.replace("desk_port = 0", f"desk_port = {port}") + "\n".join(lines) + "\n"
    )


@contextmanager
def running(home: Home, **more: object) -> Iterator[tuple[Client, Daemon]]:
    """Run the daemon with a desk; stops it in the end, and looks that nothing crashed."""
    client, daemon = start(home, **more)
    try:
        yield client, daemon
        if daemon.process.poll() is None:
            assert daemon.end(timeout_s=60) == 0
    finally:
        if daemon.process.poll() is None:
            daemon.end(9)
    assert not daemon.events("crashed"), daemon.log.read_text()
    assert not daemon.events("not json"), daemon.log.read_text()
    assert not home.desk_socket.exists()


def start(home: Home, **more: object) -> tuple[Client, Daemon]:
    client = Client(free_port())
    set_desk(home, client.port, **more)
    daemon = Daemon(home.root)
    earlier = len(daemon.events("desk"))
    try:
        daemon.ready_line()
        wait_until(lambda: len(daemon.events("desk")) > earlier and home.desk_socket.exists(), "the desk is open", 60)
    except BaseException:
        daemon.end(9)
        raise
    return client, daemon


@contextmanager
def until_killed(home: Home) -> Iterator[Client]:
    """Run the daemon with a desk, and kill it in the end."""
    client, daemon = start(home)
    try:
        yield client
    finally:
        assert daemon.end(9) == -9


@contextmanager
def deskless(home: Home) -> Iterator[Daemon]:
    """Run a daemon whose desk listens at no port."""
    daemon = Daemon(home.root)
    try:
        daemon.ready_line()
        yield daemon
        assert daemon.end(timeout_s=60) == 0
    finally:
        if daemon.process.poll() is None:
            daemon.end(9)


@contextmanager
def a_page(desk: Client, tmp_path: Path) -> Iterator[Page]:
    """Open the desk's page in a real Chromium whose camera looks at a picture."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (none of chromium, chromium-browser, google-chrome is on PATH)")
    camera = f"--use-file-for-fake-video-capture={film(tmp_path / 'still.mjpeg')}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, camera])
        page = browser.new_page(viewport={"width": 1024, "height": 768}, locale="en-GB")
        page.set_default_timeout(15_000)
        page.goto(f"http://127.0.0.1:{desk.port}/")
        page.locator("#code").wait_for()
        yield page
        browser.close()


def answer_to(home: Home, record_id: str, item_id: str = "bag") -> None:
    """Let an expert's answer come: the item of this record is genuine."""
    box = Outbox(home.database_file)
    at = "2026-11-27T00:00:00+00:00"
    box.add_answers(
        [ExpertAnswer(seq=1, record_id=RecordId(record_id), item_id=ItemId(item_id), outcome="genuine", resolved_at=at)]
    )
    box.close()


def over_socket(file: Path, path: str) -> int:
    """Ask for a page over the socket file; return the status."""
    connection = SocketFile(file)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status
