"""The commands: founding a server, mistakes in one line, and stopping cleanly."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from sync_server import cli, founding
from sync_server.app import create_app
from sync_server.blobs import Blobs
from sync_server.cli import build_parser
from sync_server.settings import read_settings

COMMANDS = ("init", "serve", "enrolment-code", "person", "sign", "publish", "import", "snapshot", "features")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command, name: str) -> None:
    done = command(name, "--help")
    assert name in done.out
    assert name in build_parser().format_help()


def test_init_keeps_offline_keys_away_from_the_home_and_secrets_to_their_owner(found, tmp_path: Path) -> None:
    made = found(tmp_path)
    assert {file.name for file in made.offline.iterdir()} == {"root.json", "root.pem", "targets.json", "targets.pem"}
    home = {str(file.relative_to(made.home)) for file in made.home.rglob("*") if file.is_file()}
    assert home >= {"server.toml", "server.sqlite", "audit.secret", "online-keys/snapshot.pem"}
    assert not any("root" in name or "targets" in name for name in home)
    for secret in [*made.offline.glob("*.pem"), *made.home.glob("online-keys/*"), made.home / "audit.secret"]:
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert made.admin.startswith("tsp_")
    assert not any(made.admin.encode() in file.read_bytes() for file in made.home.rglob("*") if file.is_file())


def test_init_refuses_what_would_overwrite_or_mix_keys(found, command, tmp_path: Path) -> None:
    made = found(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear to somebody")
    before = {file: file.read_bytes() for file in made.offline.iterdir()}
    for home, offline, word in (
        (made.home, tmp_path / "new", "initialised already"),
        (tmp_path / "x", made.offline, "expected an empty folder"),
        (tmp_path / "full", tmp_path / "new", "expected an empty folder"),
        (tmp_path / "y", tmp_path / "y" / "keys", "must lie outside"),
        (tmp_path / "z" / "home", tmp_path / "z", "must lie outside"),
    ):
        done = command("init", "--home", home, "--offline-keys", offline, check=False)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert word in done.err
    assert {file: file.read_bytes() for file in made.offline.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--audit-share", "1.5"), "audit_share"),
        (("--labels-needed", "0"), "labels_needed"),
        (("--database", "mysql://x"), "postgresql"),
        (("--database", "postgresql://:SECRET@127.0.0.1:1/x"), "not reachable"),
    ],
)
def test_init_refuses_settings_that_cannot_work(command, tmp_path: Path, options: tuple[str, str], word: str) -> None:
    done = command("init", "--home", tmp_path / "h", "--offline-keys", tmp_path / "o", *options, check=False)
    assert (done.code, word in done.err, "SECRET" in done.err) == (2, True, False), done.err
    assert not (tmp_path / "h" / "server.toml").exists()


@pytest.mark.parametrize("dies_in", ["_write_keys", "add_person", "write_settings"])
def test_an_init_that_was_cut_off_goes_on_when_it_is_run_again(
    found, command, monkeypatch, tmp_path: Path, dies_in: str
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(founding, dies_in, cut)
        with pytest.raises(AssertionError, match="exit code 130"):
            found(tmp_path)
    assert command("serve", "--home", tmp_path / "home", check=False).code == 2
    made = found(tmp_path)
    assert made.person("ann", "reviewer").startswith("tsp_")
    assert not list(tmp_path.rglob("init-unfinished"))


def test_commands_on_a_home_that_is_none_say_what_to_run(command, tmp_path: Path) -> None:
    for arguments in (("serve",), ("enrolment-code",), ("person", "x", "--role", "viewer"), ("snapshot", "--out", "o")):
        done = command(*arguments, "--home", tmp_path, check=False)
        assert (done.code, "touchstone-server init" in done.err) == (2, True)


def test_an_unknown_key_in_server_toml_is_refused_by_name(found, command, tmp_path: Path) -> None:
    made = found(tmp_path)
    config = made.home / "server.toml"
    config.write_text(config.read_text() + "audit_shar = 0.5\n")
    done = command("enrolment-code", "--home", made.home, check=False)
    assert (done.code, "audit_shar" in done.err) == (2, True)


def test_a_person_is_added_once_by_name_and_with_a_known_role(home, command) -> None:
    home.person("eve", "viewer")
    again = command("person", "eve", "--role", "admin", "--home", home.home, check=False)
    assert (again.code, "choose another name" in again.err) == (2, True)
    assert command("person", "zoe", "--role", "king", "--home", home.home, check=False).code == 2


def test_a_name_that_is_no_text_is_one_line(home, environment) -> None:
    arguments = [sys.executable, "-m", "sync_server.cli", "person", b"\xff", "--role", "viewer", "--home", home.home]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("touchstone-server: person ")


def test_serving_others_without_tls_needs_a_proxy_that_does_it(home, command, monkeypatch) -> None:
    served = []
    monkeypatch.setattr(cli, "serve", lambda *arguments: served.append(arguments[1]))
    done = command("serve", "--home", home.home, "--host", "0.0.0.0", check=False)
    assert (done.code, done.err.count("\n"), served) == (2, 1, [])
    assert "--tls-certificate" in done.err and "--behind-tls-proxy" in done.err
    for options in (("--behind-tls-proxy",), ("--tls-certificate", "chain.pem")):
        command("serve", "--home", home.home, "--host", "0.0.0.0", *options)
    command("serve", "--home", home.home, "--host", "::1")
    assert served == ["0.0.0.0", "0.0.0.0", "::1"]


def test_what_a_crash_left_unfinished_is_swept_when_the_server_starts(home) -> None:
    settings = read_settings(home.home)
    kept = Blobs(settings.blobs).put(b"a photo")
    folder = Blobs(settings.blobs).path(kept).parent
    old, fresh = folder / f".{kept}.0.tmp", folder / f".{kept}.1.tmp"
    for file in (old, fresh):
        file.write_bytes(b"half a ph")
    for file in (old, folder / kept):
        os.utime(file, (time.time() - 3700,) * 2)
    create_app(settings)
    assert sorted(file.name for file in folder.iterdir()) == sorted((fresh.name, kept))


def test_sign_without_a_bundle_or_without_keys_is_one_line(command, make_bundle, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    for folder in (tmp_path / "none", bundle):
        done = command("sign", folder, "--offline-keys", tmp_path, check=False)
        assert (done.code, done.err.count("\n")) == (2, 1)


def test_a_port_that_is_taken_is_one_line(server, home, command) -> None:
    done = command("serve", "--home", home.home, "--port", server.url.rpartition(":")[2], check=False)
    assert (done.code, "choose another --port" in done.err) == (2, True)


def test_the_server_stops_cleanly(home, server_class) -> None:
    assert server_class(home.home).stop(signal.SIGTERM) == (0, "", "")
    code, out, err = server_class(home.home).stop(signal.SIGINT)
    assert (code, out, err.count("\n")) == (130, "", 1)


def test_a_mistake_is_one_line_in_a_real_process_too(environment, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "sync_server.cli", "publish", str(tmp_path), "--home", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("touchstone-server: ")


def test_the_whole_path_works_on_postgresql_too(
    new_database, found, server_class, station_class, make_bundle, png, tmp_path: Path
) -> None:
    made = found(tmp_path, "--database", new_database, "--labels-needed", "1")
    made.release(make_bundle(tmp_path / "bundle"))
    server = server_class(made.home)
    with httpx.Client(base_url=server.url) as client:
        station = station_class(client)
        assert station.enrol(made.code()).status_code == 200
        record = station.open_case("bag", png(1))
        headers = {"Authorization": f"Bearer {made.admin}"}
        label = client.post(f"/v1/cases/{record.record_id}/labels", json={"label": "genuine"}, headers=headers)
        assert label.json()["outcome"] == "genuine"
        assert station.send("GET", "/v1/answers").json()["answers"][0]["item_id"] == "bag"
        assert station.send("GET", "/v1/station/assignment").json()["target"] == "bags/1/manifest.json"
        assert client.get("/v1/tuf/timestamp.json").status_code == 200
    assert server.stop() == (0, "", "")
