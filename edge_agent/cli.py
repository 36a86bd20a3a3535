"""``touchstone-agent``: the station's command line. Each command's code is imported only when it is asked for.

A mistake of the user's is one line on standard error and exit code 2; Ctrl-C is 130.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence

from edge_agent.home import HOME_VARIABLE, Home, home_folder
from runtime.contracts.errors import TouchstoneError

COMMANDS: Mapping[str, str] = {
    "enrol": "edge_agent.commands.enrol",
    "scan": "edge_agent.commands.scan",
    "run": "edge_agent.commands.run",
    "status": "edge_agent.commands.status",
}
"""Command to the module that does it; each has ``main(home, arguments) -> exit code``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    home = Home(root=home_folder(arguments.home))
    try:
        module = importlib.import_module(COMMANDS[arguments.command])
        return int(module.main(home, arguments))
    except TouchstoneError as error:
        print(f"touchstone-agent: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has left; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="touchstone-agent", description="Scans items on this station, with or without a network."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
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
    return command


if __name__ == "__main__":
    sys.exit(main())
