"""What these tests drive: the real server and the agent as processes, and small HTTP servers that misbehave."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edge_agent.home import Home
from edge_agent.identity import Identity, write_identity
from edge_agent.outbox import Outbox
from runtime.contracts.records import (
    BundleId,
    ItemId,
    ModelRef,
    Prediction,
    Reason,
    Record,
    RecordId,
    StationId,
    Verdict,
    ViewScore,
)

REPOSITORY = Path(__file__).parents[2]
FAST = "watch_every_s = 0.02\nuplink_every_s = 0.2\nupdate_every_s = 0.3\nmin_free_bytes = 1048576\ndesk_port = 0\n"


def run_module(module: str, *arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run one of our programs to its end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False, **more)


def agent(*arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return run_module("edge_agent.cli", *arguments, **more)


@dataclass
class RealServer:
    """The sync server as a process, with a home and offline keys of its own."""

    home: Path
    keys: Path
    url: str
    token: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, folder: Path) -> RealServer:
        home, keys = folder / "server", folder / "offline"
        founded = run_module("sync_server.cli", "init", "--home", home, "--offline-keys", keys, "--labels-needed", "1")
        assert founded.returncode == 0, founded.stderr
        token = next(word for word in founded.stdout.split() if word.startswith("tsp_"))
        process, url = _served(home)
        return cls(home=home, keys=keys, url=url, token=token, process=process)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def start_again(self) -> None:
        """Start it on another port, after ``stop``."""
        self.process, self.url = _served(self.home)

    def code(self) -> str:
        printed = run_module("sync_server.cli", "enrolment-code", "--home", self.home)
        assert printed.returncode == 0, printed.stderr
        return printed.stdout.strip()

    def publish(self, bundle: Path, *, floor: int | None = None) -> None:
        more = [] if floor is None else ["--floor", str(floor)]
        for arguments in (
            ["sign", bundle, "--offline-keys", self.keys, *more],
            ["publish", bundle, "--home", self.home],
        ):
            done = run_module("sync_server.cli", *arguments)
            assert done.returncode == 0, done.stderr

    def enrolled(self, folder: Path) -> Path:
        """Make a station that is enrolled here, with quick intervals."""
        done = agent("enrol", "--home", folder, "--server", self.url, "--code", self.code())
        assert done.returncode == 0, done.stderr
        (folder / "agent.toml").write_text(FAST)
        return folder

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def cases_of(self, station_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.get(f"/v1/cases?limit=200{after}")
            found += [case for case in page["cases"] if case["station_id"] == station_id]
            if page["next_after"] is None:
                return found
            after = f"&after={urllib.parse.quote(page['next_after'])}"


def _served(home: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sync_server.cli", "serve", "--home", str(home), "--port", "0"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


class Daemon:
    """``touchstone-agent run`` as a process, by ``command`` where that is another one."""

    def __init__(
        self,
        home: Path,
        *,
        log: Path | None = None,
        command: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log or home / "daemon.log"
        self._stderr = self.log.open("a")
        self.process = subprocess.Popen(
            command or [sys.executable, "-m", "edge_agent.cli", "run", "--home", str(home)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def ready_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 20) -> int:
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._stderr.close()
        return code

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(_parsed, self.log.read_text().splitlines()) if line.get("event") == event]


class ServiceManager:
    """The other end of sd_notify(3): a real socket that collects what a service says."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address or f"@touchstone-{secrets.token_hex(8)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address.replace("@", "\0", 1) if self.address.startswith("@") else self.address)
        self._socket.setblocking(False)

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        watchdog = {} if watchdog_s is None else {"WATCHDOG_USEC": str(round(watchdog_s * 1e6))}
        return {"NOTIFY_SOCKET": self.address, **watchdog}

    def heard(self) -> list[str]:
        """Return what was said since the last time, one assignment each."""
        said: list[str] = []
        with suppress(BlockingIOError):
            while True:
                said += self._socket.recv(65536).decode().split("\n")
        return said

    def close(self) -> None:
        self._socket.close()


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {"event": "not json", "line": line}
    return found if isinstance(found, dict) else {"event": "not json", "line": line}


def wait_until(is_so: Callable[[], object], what: str, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain until {what}"
        time.sleep(0.02)


@dataclass
class Asked:
    """One request that a scripted server got."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Say:
    """What a scripted server answers; ``claim`` announces another length than is sent, ``pause_s`` comes before it."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    claim: int | None = None
    pause_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


def say_json(data: object, status: int = 200) -> Say:
    return Say(status=status, body=json.dumps(data).encode())


def say_problem(status: int, slug: str = "x", **more: object) -> Say:
    body = json.dumps({"type": f"/problems/{slug}", "title": slug, "status": status, "detail": f"{slug}!", **more})
    return Say(status=status, body=body.encode(), kind="application/problem+json")


@contextmanager
def scripted_server(
    answer: Callable[[Asked], Say], clock: Callable[[], float] = time.time
) -> Iterator[tuple[str, list[Asked]]]:
    """Serve ``answer`` on loopback; give the address and the growing list of requests. ``clock`` dates the answers."""
    asked: list[Asked] = []
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Asked(self.command, self.path, body, dict(self.headers))
            asked.append(request)
            say = answer(request)
            ended.wait(say.pause_s)
            try:
                self.send_response(say.status)
                self.send_header("Content-Type", say.kind)
                self.send_header("Content-Length", str(len(say.body) if say.claim is None else say.claim))
                for name, value in say.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(say.body)
            except OSError:
                pass
            if say.claim is not None or say.pause_s:
                self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = _do

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(clock(), usegmt=True)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def make_record(
    number: int,
    *,
    verdict: Verdict = "uncertain",
    audited: bool = False,
    photos: Sequence[str] = (),
    station_id: str = "st-test",
) -> Record:
    return Record(
        record_id=RecordId(f"{number:064x}"),
        station_id=StationId(station_id),
        item_id=ItemId(f"item {number}"),
        scanned_at="2026-11-23T00:00:00.000+00:00",
        verdict=verdict,
        reasons=(Reason(code="test", text="a test"),),
        prediction=Prediction(p_counterfeit=0.5, p_fraud=None),
        audited=audited,
        views=tuple(ViewScore(view="logo", photo=photo, logit=0.0) for photo in photos),
        listing=None,
        model=ModelRef(bundle_id=BundleId("0" * 64), name="tiny", release=1, variant="ort-cpu-float32"),
        timings_us={"infer": 1},
    )


def make_home(folder: Path, *, server: str = "http://127.0.0.1:9", share: float = 0.0) -> Home:
    """A station that counts as enrolled, at a server that need not be there."""
    home = Home(root=folder)
    home.create()
    identity = Identity(
        station_id=StationId("st-test"), name="test", server=server, audit_key="11" * 32, audit_share=share
    )
    write_identity(home, identity)
    (folder / "agent.toml").write_text(FAST)
    return home


def drop(home: Home, name: str, **photos: bytes) -> None:
    """Put an item into the inbox, whole."""
    filling = home.inbox / f".{name}"
    filling.mkdir()
    for view, data in photos.items():
        (filling / f"{view}.jpg").write_bytes(data)
    filling.rename(home.inbox / name)


def recorded(home: Home) -> int:
    box = Outbox(home.database_file)
    try:
        return box.tally().recorded
    finally:
        box.close()


def environment_without_network() -> dict[str, str]:
    """Any use of a proxy or of a name server from this environment would fail at once."""
    return {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
