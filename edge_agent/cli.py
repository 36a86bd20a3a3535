"""``touchstone-agent``: the station's command line. Each command's code is imported only when it is asked for.

How it starts and ends is ``runtime.contracts.command``: a mistake of the user's is one line and exit code 2.
"""

from __future__ import annotations

import argparse
import importlib
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from edge_agent.home import HOME_VARIABLE, Home, home_folder
from runtime.contracts.command import run_command

STATION_HOME = "/var/lib/touchstone"
"""Where the unit keeps a station, if nobody says otherwise."""

COMMANDS: Mapping[str, str] = {
    "enrol": "edge_agent.commands.enrol",
    "scan": "edge_agent.commands.scan",
    "run": "edge_agent.commands.run",
    "status": "edge_agent.commands.status",
    "doctor": "edge_agent.commands.doctor",
    "install": "edge_agent.commands.install",
    "replay": "edge_agent.commands.replay",
    "outbox": "edge_agent.commands.outbox",
    "update": "edge_agent.commands.update",
}
"""Command to the module that does it; each has ``main(home, arguments) -> exit code``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see ``run_command`` for what it returns."""
    return run_command(parser(), argv)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="touchstone-agent", description="Scans items on this station, with or without a network."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    enrol = _command(commands, "enrol", "make this machine a station of a server, once")
    enrol.add_argument("--server", required=True, metavar="URL", help="https address of the server")
    enrol.add_argument("--code", required=True, help="the line that 'touchstone-server enrolment-code' printed")
    enrol.add_argument("--name", default=socket.gethostname(), help="what people call it (default: %(default)s)")
    scan = _command(commands, "scan", "scan one item now; its record is on disk before the verdict is printed")
    scan.add_argument("photos", nargs="*", metavar="PHOTO", help="photo files; the name before the dot is the view")
    scan.add_argument("--item", required=True, metavar="ID", help="the item's id")
    scan.add_argument(
        "--view", action="append", default=[], metavar="NAME=PHOTO", help="a photo of a named view; may be repeated"
    )
    scan.add_argument("--listing", metavar="FILE", help="JSON object of listing features: name to number or null")
    scan.add_argument("--json", action="store_true", help="print the whole record as JSON")
    run = _command(commands, "run", "scan what lands in the inbox, sync, update; until stopped")
    run.add_argument("--once", action="store_true", help="update, scan and sync once, then end")
    update = _command(commands, "update", "take a release from a folder, on a USB stick say, with no network")
    update.add_argument(
        "--from",
        dest="folder",
        required=True,
        metavar="FOLDER",
        help="what 'touchstone-server export-release' wrote, less than a day ago",
    )
    status = _command(commands, "status", "show what runs here and how the outbox stands")
    status.add_argument("--json", action="store_true", help="print it as JSON")
    status.add_argument("--answers", type=int, default=5, metavar="N", help="show the last N answers (default 5)")
    doctor = _command(commands, "doctor", "look at the whole station, and say what to do; exit code 1 on a FAIL")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.add_argument("--trial", action="store_true", help="run the model in a process of its own, some seconds")
    install = _command(commands, "install", "write the systemd unit and agent.toml of this station", STATION_HOME)
    install.add_argument("--root", metavar="DIR", help="write below DIR, for a package or an image (default: /)")
    install.add_argument("--user", default="touchstone", help="system user that it runs as (default: %(default)s)")
    install.add_argument("--program", metavar="PATH", help="what the unit starts (default: this touchstone-agent)")
    replay = _command(commands, "replay", "feed a folder of items to the running daemon, as a conveyor would")
    replay.add_argument("dataset", metavar="DATASET", help="folder with items.csv, or with a folder of photos an item")
    replay.add_argument("--rate", type=float, default=2.0, help="items a second (default %(default)s)")
    replay.add_argument(
        "--count", type=int, metavar="N", help="play N items, over and over as others (default: each once)"
    )
    replay.add_argument("--url", help="http address of a desk (default: that of the home's own daemon)")
    replay.add_argument("--seed", type=int, default=1, help="of the jitter between arrivals (default %(default)s)")
    _add_outbox(commands)
    return top


def _add_outbox(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "look at what waits for the server, check it, or carry it there by hand"
    actions = commands.add_parser("outbox", help=text, description=text).add_subparsers(required=True, metavar="ACTION")
    listed = _command(actions, "list", "list records, newest first", does="outbox")
    listed.add_argument(
        "--state",
        choices=("unsent", "pending", "parked", "acked", "all"),
        default="unsent",
        help="only these (default: %(default)s); parked: the server refused it, and is asked again once a day",
    )
    listed.add_argument("--json", action="store_true", help="print it as JSON")
    _command(
        actions,
        "verify",
        "check that every record and every photo of an unsent case is whole; one line a problem, exit code 1",
        does="outbox",
    )
    export = _command(
        actions, "export", "write all that is unsent to a folder, for 'touchstone-server import'", does="outbox"
    )
    export.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder, on a USB stick for example")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    home: str | None = None,
    *,
    does: str | None = None,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    where = home or f"${HOME_VARIABLE}, else ~/.touchstone"
    command.add_argument("--home", metavar="DIR", default=home, help=f"the station's folder (default: {where})")
    command.set_defaults(command=partial(_run, does or name), action=name)
    return command


def _run(name: str, arguments: argparse.Namespace) -> int:
    home = Home(root=home_folder(arguments.home))
    return int(importlib.import_module(COMMANDS[name]).main(home, arguments))


if __name__ == "__main__":
    sys.exit(main())
