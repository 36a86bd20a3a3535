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

from edge_agent.home import HOME_VARIABLE, Home, home_folder
from runtime.contracts.command import run_command

COMMANDS: Mapping[str, str] = {
    "enrol": "edge_agent.commands.enrol",
    "scan": "edge_agent.commands.scan",
    "run": "edge_agent.commands.run",
    "status": "edge_agent.commands.status",
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
    return top


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument(
        "--home", metavar="DIR", help=f"the station's folder (default: ${HOME_VARIABLE}, else ~/.touchstone)"
    )
    command.set_defaults(command=partial(_run, name))
    return command


def _run(name: str, arguments: argparse.Namespace) -> int:
    home = Home(root=home_folder(arguments.home))
    return int(importlib.import_module(COMMANDS[name]).main(home, arguments))


if __name__ == "__main__":
    sys.exit(main())
