"""Enrolment, with the real server, and what goes wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.device_key import DeviceKey
from edge_agent.enrol import enrol
from edge_agent.home import Home
from edge_agent.identity import check_server_url, read_identity, require_identity
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import StationFault, TryLater, Unsupported, Untrusted
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import Asked, RealServer, Say, agent, make_home, say_json, say_problem, scripted_server


def test_a_station_enrols_once_and_says_who_it_is(server: RealServer, tmp_path: Path) -> None:
    code = server.code()
    done = agent("enrol", "--home", tmp_path, "--server", server.url + "/", "--code", code, "--name", "Bench 4")
    assert done.returncode == 0, done.stderr
    home = Home(root=tmp_path)
    identity = require_identity(home)
    assert identity.name == "Bench 4"
    assert identity.station_id in done.stdout
    assert identity.audit_key not in done.stdout + repr(identity)
    assert sha256_hex(home.root_metadata_file.read_bytes()).startswith(code.rpartition("-")[2])
    for secret in (home.key_file, home.identity_file):
        assert secret.stat().st_mode & 0o777 == 0o600
    again = agent("enrol", "--home", tmp_path, "--server", server.url, "--code", code)
    assert again.returncode == 0
    assert "already enrolled" in again.stdout
    other = agent("enrol", "--home", tmp_path, "--server", "https://other.example", "--code", code)
    assert other.returncode == 2
    assert other.stderr.startswith(f"touchstone-agent: this station is enrolled at {server.url}")


def test_a_used_or_wrong_code_is_one_clear_line_and_enrols_nobody(server: RealServer, tmp_path: Path) -> None:
    code = server.code()
    assert agent("enrol", "--home", tmp_path / "a", "--server", server.url, "--code", code).returncode == 0
    for bad in (code, "A" * 16 + "-" + code.rpartition("-")[2]):
        done = agent("enrol", "--home", tmp_path / "b", "--server", server.url, "--code", bad)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "wrong, used or expired" in done.stderr
        assert read_identity(Home(root=tmp_path / "b")) is None
    done = agent("enrol", "--home", tmp_path / "b", "--server", server.url, "--code", "garbage")
    assert done.returncode == 2
    assert "copy the whole line" in done.stderr


def test_a_code_of_another_server_is_refused_before_it_is_spent(tmp_path: Path) -> None:
    repository = Repository()
    with scripted_server(repository) as (url, asked), pytest.raises(Untrusted, match="not the one that issued"):
        enrol(Home(root=tmp_path), server=url, code="A" * 16 + "-" + "0" * 32, name="x")
    assert [one.method for one in asked] == ["GET"]


def test_a_lost_answer_may_be_asked_for_again_with_the_same_code_and_key(tmp_path: Path) -> None:
    repository = Repository()
    keys = []

    def answer(asked: Asked) -> Say:
        if asked.method == "GET":
            return repository(asked)
        keys.append(json.loads(asked.body)["public_key"])
        answered = say_json({"station_id": "st-1", "audit_key": "ab" * 32, "audit_share": 0.01})
        return Say(body=answered.body, claim=5000) if len(keys) == 1 else answered

    code = "A" * 16 + "-" + sha256_hex(repository.root)[:32]
    with scripted_server(answer) as (url, _):
        with pytest.raises(TryLater):
            enrol(Home(root=tmp_path), server=url, code=code, name="x")
        assert read_identity(Home(root=tmp_path)) is None
        identity, is_new = enrol(Home(root=tmp_path), server=url, code=code, name="x")
    assert is_new
    assert identity.station_id == "st-1"
    assert len(keys) == 2
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    "say",
    [
        say_json({"station_id": "st-1", "audit_key": "no hex", "audit_share": 0.1}),
        say_json({"station_id": "../x", "audit_key": "ab", "audit_share": 0.1}),
        say_json({"station_id": "st-1", "audit_key": "ab", "audit_share": 7.0}),
        say_json({"station_id": "st-1"}),
        say_problem(500),
        Say(body=b"<html>", kind="text/html"),
    ],
)
def test_an_answer_that_makes_no_sense_enrols_nobody(tmp_path: Path, say: Say) -> None:
    repository = Repository()
    answer: Callable[[Asked], Say] = lambda asked: repository(asked) if asked.method == "GET" else say  # noqa: E731
    code = "A" * 16 + "-" + sha256_hex(repository.root)[:32]
    with scripted_server(answer) as (url, _), pytest.raises(TryLater):
        enrol(Home(root=tmp_path), server=url, code=code, name="x")
    assert read_identity(Home(root=tmp_path)) is None


def test_a_server_that_is_no_touchstone_server_is_named(tmp_path: Path) -> None:
    with scripted_server(lambda _: say_problem(404)) as (url, _), pytest.raises(TryLater, match="no Touchstone server"):
        enrol(Home(root=tmp_path), server=url, code="A" * 16 + "-" + "0" * 32, name="x")


@pytest.mark.parametrize("url", ["https://a.example", "http://127.0.0.1:80", "http://localhost:8300", "http://[::1]:1"])
def test_https_anywhere_and_http_on_this_machine_are_taken(url: str) -> None:
    assert check_server_url(url + "/") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example",
        "http://192.168.1.5:8300",
        "http://localhost.evil.example",
        "ftp://a.example",
        "a.example",
        "https://user:word@a.example",
        "https://a.example?x=1",
        "https://a.example:port",
        "",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(StationFault, match="server address"):
        check_server_url(url)


def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="station name"):
        enrol(Home(root=tmp_path), server="https://a.example", code="A" * 16 + "-" + "0" * 32, name="a/b")


def test_no_secret_is_ever_readable_by_others_not_even_before_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    replace = Path.replace

    def look(temp: Path, place: Path) -> Path:
        modes.append((place.name, temp.stat().st_mode & 0o777))
        return replace(temp, place)

    monkeypatch.setattr(Path, "replace", look)
    DeviceKey.load_or_create(make_home(tmp_path / "station"))
    assert modes == [("station.json", 0o600), ("device.key", 0o600)]
    assert DeviceKey.load(Home(root=tmp_path / "station")).public_hex
