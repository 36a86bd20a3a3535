"""What ``install`` writes: a unit that systemd takes and that starts, and settings that set nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.commands.install import make_user_command, this_program
from edge_agent.config import Config, read_config
from edge_agent.config_file import agent_toml, settings
from edge_agent.home import Home
from edge_agent.unit import UNIT_FILE, unit_text
from runtime.contracts.errors import Unsupported
from tests.edge_agent.rigs import REPOSITORY, Daemon, ServiceManager, agent, wait_until

STATE = Path("/var/lib/touchstone")


def unit_file(root: Path) -> Path:
    return root / UNIT_FILE.relative_to("/")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """This very agent as a file that a unit can name, wherever this checkout lies."""
    script = tmp_path / "touchstone-agent"
    script.write_text(f'#!/bin/sh\ncd "{REPOSITORY}" && exec "{sys.executable}" -m edge_agent.cli "$@"\n')
    script.chmod(0o755)
    return script


def assignments(unit: str) -> dict[str, list[str]]:
    """Return what a unit says: key to its values, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if line and not line.startswith(("#", "[")):
            key, equals, value = line.partition("=")
            assert equals and key.strip() == key, line
            found.setdefault(key, []).append(value)
    return found


def test_install_writes_a_unit_and_settings_and_says_what_to_type_next(tmp_path: Path) -> None:
    done = agent("install", "--root", tmp_path, "--program", "/opt/touchstone/bin/touchstone-agent")
    assert done.returncode == 0, done.stderr
    unit = assignments(unit_file(tmp_path).read_text())
    assert unit["ExecStart"] == ["/opt/touchstone/bin/touchstone-agent run --home /var/lib/touchstone"]
    assert unit["StateDirectory"] == ["touchstone"]
    assert unit["ReadWritePaths"] == [str(STATE)]
    assert (unit["Type"], unit["Restart"], unit["User"]) == (["notify"], ["always"], ["touchstone"])
    assert read_config(tmp_path / "var/lib/touchstone/agent.toml") == Config()
    asked = [line.strip() for line in done.stdout.partition("next:\n")[2].splitlines()]
    as_user = "runuser -u touchstone -- /opt/touchstone/bin/touchstone-agent"
    assert asked[-4:] == [
        f"{as_user} enrol --home {STATE} --server https://SERVER --code CODE",
        "systemctl daemon-reload",
        "systemctl enable --now touchstone-agent.service",
        f"{as_user} doctor --home {STATE}",
    ]
    assert asked[0] == shlex.join(make_user_command("touchstone", STATE))


def test_installing_again_changes_nothing_and_keeps_what_a_person_wrote(tmp_path: Path, program: Path) -> None:
    arguments = ("install", "--root", tmp_path, "--program", program, "--user", "root")
    first = agent(*arguments)
    assert "useradd" not in first.stdout
    config, unit = tmp_path / "var/lib/touchstone/agent.toml", unit_file(tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (config, unit)}
    again = agent(*arguments)
    assert again.returncode == 0, again.stderr
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (config, unit)} == before
    assert again.stdout.count("kept ") == 2
    config.write_text("threads = 2\n")
    unit.write_text("[Service]\n")
    (config.parent / "station.json").write_text("{}")
    third = agent(*arguments)
    assert config.read_text() == "threads = 2\n"
    assert unit.read_bytes() == before[unit][0]
    assert "enrol" not in third.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--home", "/home/me/station"], "ProtectHome hides /home"),
        (["--program", "/root/venv/bin/touchstone-agent"], "a venv in /opt/touchstone"),
        (["--home", "/var/lib/a b"], "expected an absolute path"),
        (["--home", "/var/lib/../../etc"], "expected an absolute path"),
        (["--home", "/"], "expected an absolute path"),
        (["--program", "touchstone-agent"], "expected an absolute path"),
        (["--user", "Me and you"], "lower-case letters"),
    ],
)
def test_what_the_unit_could_not_run_is_refused_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = agent("install", "--root", tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


def test_who_is_not_root_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["install"]) == 2
    assert "run it with sudo, or give --root DIR" in capsys.readouterr().err


def test_the_user_is_made_by_a_command_that_works(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("useradd and root are needed to make a user, even in a folder of its own")
    (tmp_path / "etc").mkdir()
    for file in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / file).touch()
    command, *arguments = make_user_command("touchstone", STATE)
    done = subprocess.run([command, "--prefix", str(tmp_path), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{STATE}:/usr/sbin/nologin" in (tmp_path / "etc/passwd").read_text()
    assert (tmp_path / "etc/group").read_text().startswith("touchstone:")


HARDENED = {
    "Type": "notify",
    "WatchdogSec": "60",
    "Restart": "always",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "DevicePolicy": "closed",
    "CapabilityBoundingSet": "",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "SystemCallFilter": "@system-service",
    "MemoryMax": "75%",
    "LimitCORE": "0",
    "StartLimitIntervalSec": "0",
}


def test_the_unit_confines_the_agent_and_never_gives_it_up() -> None:
    unit = assignments(unit_text(program=["/opt/x"], home=STATE, user="touchstone"))
    assert {key: unit.get(key) for key in HARDENED} == {key: [value] for key, value in HARDENED.items()}
    assert "char-video4linux rw" in unit["DeviceAllow"]
    assert "StateDirectory" not in assignments(unit_text(program=["/opt/x"], home=Path("/srv/station"), user="x"))
    with pytest.raises(Unsupported):
        unit_text(program=["/opt/x;rm"], home=STATE, user="touchstone")


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt-get install systemd"
)
def test_systemd_takes_the_unit_without_a_word(tmp_path: Path, program: Path) -> None:
    assert agent("install", "--root", tmp_path, "--program", program, "--user", "root").returncode == 0
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit_file(tmp_path))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_unit_starts_is_ready_and_pings(
    home_with_model: Home, tmp_path: Path, program: Path, manager: ServiceManager
) -> None:
    home, image = home_with_model.root, tmp_path / "image"
    done = agent("install", "--root", image, "--home", home, "--program", program, "--user", "root")
    assert done.returncode == 0, done.stderr
    (command,) = assignments(unit_file(image).read_text())["ExecStart"]
    daemon = Daemon(home, command=shlex.split(command), environment=manager.environment(watchdog_s=0.5))
    heard: list[str] = []

    def pings() -> bool:
        heard.extend(manager.heard())
        return heard.count("WATCHDOG=1") >= 3

    wait_until(pings, "it has pinged three times")
    assert heard[0] == "READY=1"
    assert daemon.end() == 0
    assert "STOPPING=1" in manager.heard()


def test_the_program_that_the_unit_starts_is_this_one() -> None:
    done = subprocess.run(
        [*this_program(), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
    )
    assert "usage: touchstone-agent" in done.stdout


def test_the_settings_file_shows_every_key_with_its_default_and_what_it_means() -> None:
    text = agent_toml()
    assert tomllib.loads(text) == {}
    assert [setting.key for setting in settings()] == list(Config.__dataclass_fields__)
    shown = [line[1:] for line in text.splitlines() if line.startswith("#") and line[1:2].isalpha()]
    assert [line.split(" = ")[0] for line in shown] == list(Config.__dataclass_fields__)
    set_by_default = [line for line in shown if "# not set" not in line]
    assert Config(**tomllib.loads("\n".join(set_by_default))) == Config()
    assert all(len(setting.says) > 20 for setting in settings())
    assert all(setting.says.endswith(".") for setting in settings())
    assert max(map(len, text.splitlines())) <= 120
