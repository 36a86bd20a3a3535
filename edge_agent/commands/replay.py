"""``touchstone-agent replay``: feeds a folder of items to a running daemon at a rate, and says what came out."""

from __future__ import annotations

import argparse
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from edge_agent.desk import ask, ask_http
from edge_agent.home import Home
from edge_agent.replay import play, read_dataset, schedule, summary
from runtime.contracts.command import Progress
from runtime.contracts.errors import StationFault, Unsupported


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Play the dataset; 2 where an item failed."""
    if not 0 < arguments.rate <= 1000:
        raise Unsupported(f"--rate {arguments.rate}: expected more than 0 and at most 1000 items a second")
    sources = read_dataset(Path(arguments.dataset))
    count = len(sources) if arguments.count is None else arguments.count
    if count < 1:
        raise Unsupported(f"--count {count}: expected at least 1")
    where = arguments.url or str(home.desk_socket)

    gone = f"{where}: nobody answers; start 'touchstone-agent run', and see that its desk is on"

    def connection() -> HTTPConnection:
        return ask_http.connection_to(arguments.url) if arguments.url else ask_http.SocketFile(home.desk_socket)

    def scan(item: ask.Item) -> dict[str, Any]:
        verdict = ask.scan(ask_http.by_connection(connection()), item)
        if verdict is None:
            raise StationFault(gone)
        return verdict

    if not ask_http.is_there(connection()):
        raise StationFault(gone)
    played = play(sources, schedule(count, arguments.rate, arguments.seed), scan, Progress("replay"))
    sys.stdout.write(summary(played))
    return 2 if any(one.failed for one in played) else 0
