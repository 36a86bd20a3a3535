"""A founded server, a station that signs as a real one does, and a tiny bundle; shared by this folder's tests."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import re
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.contracts.bundle import (
    BundleManifest,
    FileEntry,
    Fusion,
    InputSpec,
    Thresholds,
    Variant,
)
from runtime.contracts.codec import canonical_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.records import BundleId, ItemId, ModelRef, Prediction, Reason, Record, ViewScore, record_id_of
from runtime.contracts.sync import request_claims
from sync_server import auth
from sync_server.blobs import Blobs
from sync_server.cli import main
from sync_server.store import Store

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments: object, check: bool = True) -> Done:
    """Run ``touchstone-server`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
    if check and code != 0:
        raise AssertionError(f"{arguments}: exit code {code}\n{out.getvalue()}{err.getvalue()}")
    return Done(code, out.getvalue(), err.getvalue())


def png(seed: int, px: int = 8) -> bytes:
    """Return a small real PNG, another one for each seed."""
    row = b"\x00" + bytes((seed * 37 % 256, seed * 91 % 256, seed % 256)) * px

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", px, px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * px)) + chunk(b"IEND", b"")


def make_bundle(folder: Path, name: str = "bags", weights: bytes = b"not really a model") -> Path:
    """Write a bundle folder whose files are dummies: the server never loads a model."""
    folder.mkdir(parents=True)
    contents = {"model.onnx": weights, "evidence/report.json": b"{}"}
    for path, data in contents.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    variant = Variant(
        name="ort-cpu-fp32",
        engine="onnxruntime",
        precision="fp32",
        file="model.onnx",
        isa=(),
        fusion=Fusion(bias=0.0, weights={"*": 1.0}),
        thresholds=Thresholds(authentic_below=0.1, suspect_from=0.9),
    )
    manifest = BundleManifest(
        manifest=1,
        name=name,
        created_at="2026-11-01T00:00:00Z",
        input=InputSpec(px=224),
        views=("*",),
        variants=(variant,),
        preferred="ort-cpu-fp32",
        listing=None,
        golden=(),
        golden_tolerance=0.01,
        evidence="evidence/report.json",
        files=tuple(FileEntry(path=p, sha256=sha256_hex(d), size=len(d)) for p, d in contents.items()),
        provenance={},
    )
    (folder / "manifest.json").write_bytes(canonical_json(manifest))
    return folder


@dataclass
class Home:
    """A founded server on disk."""

    home: Path
    offline: Path
    admin: str

    def code(self) -> str:
        return command("enrolment-code", "--home", self.home).out.strip()

    def person(self, name: str, role: str) -> str:
        return command("person", name, "--role", role, "--home", self.home).out.strip()

    def release(self, bundle: Path, *sign_options: object) -> None:
        command("sign", bundle, "--offline-keys", self.offline, *sign_options)
        command("publish", bundle, "--home", self.home)


@dataclass
class FakeStation:
    """Signs each request as a station does; ``skew_s`` is how wrong its clock is."""

    client: httpx.Client
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    station_id: str = ""
    audit_key: str = ""
    skew_s: float = 0.0

    @property
    def public_key(self) -> str:
        return self.key.public_key().public_bytes_raw().hex()

    def enrol(self, code: str, name: str = "dock 4") -> httpx.Response:
        body = {"secret": code.partition("-")[0], "public_key": self.public_key, "name": name}
        answer = self.client.post("/v1/enrol", json=body)
        if answer.status_code == 200:
            self.station_id = answer.json()["station_id"]
            self.audit_key = answer.json()["audit_key"]
        return answer

    def token(self, method: str, path: str, body: bytes) -> str:
        now_s = int(time.time() + self.skew_s)
        claims = request_claims(self.station_id, method, path, sha256_hex(body), now_s)
        return jwt.encode(claims, self.key, algorithm="EdDSA")

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(method, path, body)}", **headers}
        if (body and "/records/" in path) or "/report" in path:
            headers["Content-Type"] = "application/json"
        return self.client.request(method, path, content=body, headers=headers)

    def put_photo(self, data: bytes) -> httpx.Response:
        return self.send("PUT", f"/v1/photos/{sha256_hex(data)}", data)

    def put_record(self, record: Record) -> httpx.Response:
        return self.send("PUT", f"/v1/records/{record.record_id}", canonical_json(record))

    def record(self, item: str, photos: tuple[bytes, ...], **changes: object) -> Record:
        views = tuple(
            ViewScore(view=f"view{i}", photo=sha256_hex(data), logit=0.25 + i) for i, data in enumerate(photos)
        )
        pairs = tuple((view.view, view.photo) for view in views)
        listing = {"price_ratio": 0.4, "seller_age_days": None}
        record = Record(
            record_id=record_id_of(self.station_id, ItemId(item), pairs, listing),
            station_id=self.station_id,
            item_id=ItemId(item),
            scanned_at="2026-11-20T09:00:00Z",
            verdict="uncertain",
            reasons=(Reason(code="between", text="between the two thresholds"),),
            prediction=Prediction(p_counterfeit=0.4375, p_fraud=0.0625),
            audited=False,
            views=views,
            listing=listing,
            model=ModelRef(bundle_id=BundleId("b" * 64), name="bags", release=1, variant="ort-cpu-fp32"),
            timings_us={"infer": 900},
        )
        return replace(record, **changes)

    def open_case(self, item: str, *photos: bytes) -> Record:
        for data in photos:
            assert self.put_photo(data).status_code in (200, 201)
        record = self.record(item, photos)
        answer = self.put_record(record)
        assert answer.status_code == 201, answer.text
        return record


@dataclass
class Person:
    """Somebody with a token."""

    client: httpx.Client
    token: str

    def send(self, method: str, path: str, **options: object) -> httpx.Response:
        return self.client.request(method, path, headers={"Authorization": f"Bearer {self.token}"}, **options)

    def label(self, record: Record, label: str) -> httpx.Response:
        return self.send("POST", f"/v1/cases/{record.record_id}/labels", json={"label": label})


class Server:
    """A real server process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = ""
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        arguments = [sys.executable, "-m", "sync_server.cli", "serve", "--home", str(self.home), "--port", "0"]
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        line = self.process.stdout.readline()
        match = re.fullmatch(r"ready at (http://\S+)\n", line)
        assert match, f"{line!r} {self.process.stderr.read()}"
        self.url = match[1]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def found(folder: Path, *options: object) -> Home:
    """Run ``init`` in ``folder``."""
    home, offline = folder / "home", folder / "offline"
    done = command("init", "--home", home, "--offline-keys", offline, *options)
    return Home(home, offline, done.out.rsplit(": ", 1)[1].strip())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A founded server, one for each test module."""
    return found(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[Server]:
    """The module's server, running."""
    running = Server(home.home)
    yield running
    code, _, err = running.stop()
    assert (code, err) == (0, "")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """HTTP to the module's server."""
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield http


@pytest.fixture(scope="module")
def station(home: Home, client: httpx.Client) -> FakeStation:
    """An enrolled station."""
    fake = FakeStation(client)
    assert fake.enrol(home.code()).status_code == 200
    return fake


@pytest.fixture(scope="module")
def people(home: Home, client: httpx.Client) -> dict[str, Person]:
    """One person a role, and three reviewers: ann, ben and cem."""
    tokens = {"admin": home.admin}
    tokens |= {role: home.person(f"the {role}", role) for role in ("releaser", "viewer")}
    tokens |= {name: home.person(name, "reviewer") for name in ("ann", "ben", "cem")}
    return {name: Person(client, token) for name, token in tokens.items()}


def _given(name: str, thing: object) -> object:
    """Make a fixture that gives ``thing`` itself: test modules cannot import this file."""
    return pytest.fixture(scope="session", name=name)(lambda: thing)


_command = _given("command", command)
_png = _given("png", png)
_make_bundle = _given("make_bundle", make_bundle)
_found = _given("found", found)
_server_class = _given("server_class", Server)
_station_class = _given("station_class", FakeStation)
_environment = _given("environment", ENVIRONMENT)


POSTGRES = next(
    (
        folder
        for folder in [
            *(Path(found).parent for found in [shutil.which("initdb")] if found),
            *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        ]
        if (folder / "initdb").exists()
    ),
    None,
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A private PostgreSQL cluster on a socket in a temporary folder; gives the URL of its first database."""
    if POSTGRES is None:
        pytest.skip("no PostgreSQL is installed (initdb is neither on PATH nor under /usr/lib/postgresql)")
    user = next((name for name in ("postgres", "nobody") if _has_user(name)), None) if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    data = folder / "data"
    if user is not None:
        shutil.chown(folder, user)

    def run(*arguments: object) -> None:
        subprocess.run(list(map(str, arguments)), check=True, capture_output=True, user=user, cwd=folder, timeout=60)

    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run(POSTGRES / "initdb", "-D", data, "-U", "touchstone", "-A", "trust", "--no-sync")
    run(POSTGRES / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql://touchstone@/postgres?host={folder}"
    finally:
        run(POSTGRES / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@pytest.fixture
def new_database(postgres: str) -> str:
    """A fresh PostgreSQL database."""
    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'server.sqlite'}"
    return request.getfixturevalue("new_database")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A database with its tables."""
    opened = Store(url)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """An empty folder of photos."""
    return Blobs(tmp_path / "blobs")


@pytest.fixture
def reviewers(store: Store) -> list[auth.Person]:
    with store.write() as connection:
        for name in ("ann", "ben", "cem", "dua"):
            auth.add_person(connection, name, "reviewer")
    return [auth.Person(name=name, role="reviewer") for name in ("ann", "ben", "cem", "dua")]
