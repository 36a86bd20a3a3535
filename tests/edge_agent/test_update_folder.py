"""Updates with no network: a folder that the real server exported, verified as the network is."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_agent.outbox import CLOCK_FACT, Outbox
from edge_agent.release_source import ReleaseFolder
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import TryLater, Unsupported, Untrusted
from tests.edge_agent.rigs import Daemon, RealServer, agent, run_module, wait_until
from tests.edge_agent.update_rig import Rig

Export = Callable[..., Path]


@pytest.fixture
def export(server: RealServer, tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Export:
    """``export(bias)`` publishes a bundle and exports it."""
    made = iter(range(100))

    def make(bias: float) -> Path:
        number = next(made)
        server.publish(tiny_bundle(tmp_path / f"bundle {number}", bias=bias))
        folder = tmp_path / f"stick {number}"
        done = run_module("sync_server.cli", "export-release", folder, "--home", server.home)
        assert done.returncode == 0, done.stderr
        assert "stations take it until" in done.stdout
        return folder

    return make


@pytest.fixture
def home(server: RealServer, tmp_path: Path) -> Path:
    """A station that is enrolled, and whose server cannot be reached from now on."""
    folder = server.enrolled(tmp_path / "station")
    (folder / "agent.toml").write_text('server = "http://127.0.0.1:9"\nupdate_every_s = 0.3\nuplink_every_s = 0.2\n')
    return folder


def status(home: Path) -> dict[str, Any]:
    done = agent("status", "--json", "--home", home)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def newest(folder: Path) -> int:
    return int(json.loads((folder / "v1/station/assignment").read_bytes())["target"].split("/")[1])


def test_a_station_without_a_network_is_updated_from_a_folder(home: Path, export: Export) -> None:
    folder = export(0.01)
    done = agent("update", "--from", folder, "--home", home)
    assert (done.returncode, done.stdout) == (0, f"tiny release {newest(folder)} runs\n"), done.stderr
    again = agent("update", "--from", folder, "--home", home)
    assert again.stdout == done.stdout
    assert "fetching" not in again.stderr
    next_one = export(0.02)
    done = agent("update", "--from", next_one, "--home", home)
    assert done.stdout.startswith(
        f"tiny release {newest(next_one)} runs; release {newest(next_one)}: on watch, 0 of 50"
    )


def test_a_running_agent_takes_it_and_goes_on_scanning(home: Path, export: Export) -> None:
    assert agent("update", "--from", export(0.03), "--home", home).returncode == 0
    daemon = Daemon(home)
    daemon.ready_line()
    folder = export(0.04)
    told = agent("update", "--from", folder, "--home", home)
    assert told.returncode == 0
    assert "the running agent takes it at its next look" in told.stdout
    wait_until(lambda: status(home)["release"] == newest(folder), "the daemon has taken it")
    broken = export(0.09)
    tamper(broken / "v1" / "tuf" / "timestamp.json")
    agent("update", "--from", broken, "--home", home)
    wait_until(lambda: status(home)["folder_error"], "the daemon has told what is wrong")
    assert "timestamp" in status(home)["folder_error"]
    assert daemon.end() == 0
    assert not daemon.events("crashed")


def test_a_mistake_is_one_line(home: Path, tmp_path: Path) -> None:
    done = agent("update", "--from", tmp_path, "--home", home)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"touchstone-agent: {tmp_path}: expected a folder that 'touchstone-server export-release' wrote\n"
    )


def tamper(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


class Stick:
    """A station in this process that is updated from folders."""

    def __init__(self, home: Path, folder: Path) -> None:
        from edge_agent.home import Home

        self.outbox = Outbox(home / "station.db")
        root = (home / "root.json").read_bytes()
        self.rig = Rig(Home(root=home), self.outbox, ReleaseFolder(folder, 0.0), root)

    def step(self, folder: Path) -> bool:
        self.rig.use(ReleaseFolder(folder, float(self.outbox.fact(CLOCK_FACT) or "0")))
        return self.rig.updates.step()


def test_a_folder_expires_as_the_network_does_and_a_clock_set_back_does_not_help(home: Path, export: Export) -> None:
    first, second = export(0.05), export(0.06)
    stick = Stick(home, first)
    try:
        stick.rig.clock = lambda: datetime.now(UTC) + timedelta(days=2)
        with pytest.raises(TryLater, match="expired"):
            stick.step(first)
        stick.rig.clock = lambda: datetime.now(UTC) + timedelta(hours=23)
        assert stick.step(second), "for a day it holds"
        stick.rig.clock = lambda: datetime.now(UTC) - timedelta(days=365)
        with pytest.raises(Untrusted, match=r"(?i)version"):
            stick.step(first)
        assert stick.rig.running() == newest(second)
    finally:
        stick.outbox.close()


@pytest.mark.parametrize(
    ("change", "family", "says"),
    [
        ("a file's byte", TryLater, "other bytes than were signed"),
        ("a file is missing", Unsupported, "has no such file"),
        ("a manifest's byte", TryLater, "another manifest than was signed"),
        ("targets that nobody signed", Untrusted, "signed by 0/1 keys"),
        ("no timestamp", TryLater, "has no such file"),
    ],
)
def test_a_folder_is_believed_no_more_than_the_network(
    home: Path, export: Export, change: str, family: type[Exception], says: str
) -> None:
    folder = export(0.07)
    files = sorted((folder / "v1/files").iterdir(), key=lambda path: path.stat().st_size)
    manifest = next(path for path in files if path.read_bytes().startswith(b'{"created_at"'))
    model = next(path for path in files if b"logits" in path.read_bytes() and path != manifest)
    stick = Stick(home, folder)
    try:
        if change == "a file's byte":
            tamper(model)
        elif change == "a file is missing":
            model.unlink()
        elif change == "a manifest's byte":
            tamper(manifest)
        elif change == "no timestamp":
            (folder / "v1/tuf/timestamp.json").unlink()
        else:
            targets = max((folder / "v1/tuf").glob("*.targets.json"), key=lambda path: int(path.name.split(".")[0]))
            signed = json.loads(targets.read_bytes())
            signed["signatures"] = []
            targets.write_text(json.dumps(signed))
        with pytest.raises(family, match=says):
            stick.step(folder)
        assert stick.rig.running() is None
    finally:
        stick.outbox.close()


def test_a_path_that_leaves_the_folder_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "stick" / "v1" / "tuf").mkdir(parents=True)
    (tmp_path / "stick" / "v1" / "link").symlink_to(tmp_path / "secret")
    source = ReleaseFolder(tmp_path / "stick", 0.0)
    for path in ("/../secret", "/v1/%2e%2e/%2e%2e/secret", "/v1/link", "//etc/passwd"):
        with pytest.raises(Unsupported, match="has no such file"):
            source.request("GET", path)


def test_the_folder_holds_what_the_server_would_answer_and_no_secret(server: RealServer, export: Export) -> None:
    folder = export(0.08)
    for path in (folder / "v1/files").iterdir():
        assert sha256_hex(path.read_bytes()) == path.name
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"v1/tuf/timestamp.json", "v1/tuf/1.root.json", "v1/station/assignment"} <= names
    assert not any(b"PRIVATE" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    again = run_module("sync_server.cli", "export-release", folder, "--home", server.home)
    assert (again.returncode, again.stdout) == (2, "")
    assert "expected an empty folder" in again.stderr
