"""``touchstone-agent install``: the systemd unit, the user and the ``agent.toml`` of a station. Starts nothing.

Doing it twice is the same as once; an ``agent.toml`` that is there is never touched.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from edge_agent.config_file import agent_toml
from edge_agent.home import Home
from edge_agent.unit import UNIT, UNIT_FILE, check_place, unit_text
from runtime.contracts.durable import make_folder, write_durably
from runtime.contracts.errors import StationFault

_HOME_MODE = 0o750


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Write the unit and the settings, and say what to type next."""
    root = Path("/") if arguments.root is None else Path(arguments.root).absolute()
    here = root == Path("/")
    if here and os.geteuid() != 0:
        raise StationFault(
            f"install: {UNIT_FILE} and the system user are root's to make: run it with sudo, or give --root DIR to "
            "write the files elsewhere"
        )
    program = [arguments.program] if arguments.program else this_program()
    unit = unit_text(program=program, home=home.root, user=arguments.user)
    if here and not arguments.program:
        check_place("program", Path(sys.base_prefix))
    user_is_new = not _has_user(arguments.user)
    if here and user_is_new:
        _make_user(arguments.user, home.root)
    written = Home(root=_below(root, home.root))
    said = [
        *_write_home(written, arguments.user if here else None),
        *_write_unit(_below(root, UNIT_FILE), unit),
        "next:",
        *([f"  {shlex.join(make_user_command(arguments.user, home.root))}"] if user_is_new and not here else []),
        *_next(shlex.join(["runuser", "-u", arguments.user, "--", *program]), home, written.identity_file.exists()),
    ]
    sys.stdout.write("\n".join(said) + "\n")
    return 0


def this_program() -> list[str]:
    """Return what starts this very program: its script beside the interpreter, else its module."""
    script = Path(sys.executable).with_name("touchstone-agent")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "edge_agent.cli"]


def make_user_command(user: str, home: Path) -> list[str]:
    """Return the command that makes the station's system user."""
    return [
        "useradd", "--system", "--user-group", "--home-dir", str(home), "--no-create-home",
        "--shell", "/usr/sbin/nologin", user,
    ]  # fmt: skip


def _make_user(user: str, home: Path) -> None:
    command = make_user_command(user, home)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StationFault(f"install: useradd is not here; make a system user {user!r} with a group of its own") from (
            error
        )
    if done.returncode != 0:
        raise StationFault(f"install: {shlex.join(command)}: {' '.join(done.stderr.split())}")


def _write_home(home: Home, owner: str | None) -> Iterator[str]:
    if not home.root.is_dir():
        make_folder(home.root)
        home.root.chmod(_HOME_MODE)
        if owner is not None:
            shutil.chown(home.root, owner, owner)
        yield f"made   {home.root}"
    if home.config_file.exists():
        yield f"kept   {home.config_file}, as it is"
    else:
        write_durably(home.config_file, agent_toml().encode(), mode=0o600)  # it may hold a PIN
        if owner is not None:
            shutil.chown(home.config_file, owner, owner)
        yield f"wrote  {home.config_file}"


def _write_unit(file: Path, unit: str) -> Iterator[str]:
    if file.is_file() and file.read_text("utf-8") == unit:
        yield f"kept   {file}, which is up to date"
        return
    make_folder(file.parent)
    write_durably(file, unit.encode())
    yield f"wrote  {file}"


def _next(agent: str, home: Home, is_enrolled: bool) -> Iterator[str]:
    if not is_enrolled:
        yield f"  {agent} enrol --home {home.root} --server https://SERVER --code CODE"
    yield "  systemctl daemon-reload"
    yield f"  systemctl enable --now {UNIT}"
    yield f"  {agent} doctor --home {home.root}"


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
