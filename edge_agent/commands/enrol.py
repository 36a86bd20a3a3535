"""``touchstone-agent enrol``."""

from __future__ import annotations

import argparse
import sys

from edge_agent.enrol import enrol
from edge_agent.home import Home


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Enrol this station and print who it is."""
    identity, is_new = enrol(home, server=arguments.server, code=arguments.code, name=arguments.name)
    word = "enrolled" if is_new else "already enrolled"
    sys.stdout.write(f"{word} at {identity.server} as {identity.station_id} ({identity.name})\n")
    if is_new:
        sys.stdout.write(f"next: touchstone-agent run --home {home.root}\n")
    return 0
