"""``touchstone-agent update --from FOLDER``: take the release in an exported folder, with no network.

Verified like one from the server, expiry included. Beside a running daemon it only leaves a word: that one takes it.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from edge_agent.agent import AlreadyRunning, Parts, build, hold_lock, restore_model
from edge_agent.home import Home
from edge_agent.online import update_from_folder
from edge_agent.outbox import UPDATE_FROM_ERROR_FACT, UPDATE_FROM_FACT
from edge_agent.release_source import ReleaseFolder


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Take the release, or have the daemon take it."""
    folder = Path(arguments.folder).absolute()
    ReleaseFolder(folder, 0.0)  # a mistake is told here, not in the daemon's log
    parts = build(home, threading.Event())
    try:
        with hold_lock(home):
            restore_model(parts)
            try:
                update_from_folder(parts, folder)
                parts.slot.advance()
            finally:
                parts.slot.end()
            sys.stdout.write(_said(parts))
    except AlreadyRunning:
        parts.outbox.set_facts({UPDATE_FROM_FACT: str(folder), UPDATE_FROM_ERROR_FACT: ""})
        sys.stdout.write(
            f"the running agent takes it at its next look, within {parts.config.update_every_s:.0f} s; leave it "
            "there, and see 'touchstone-agent status'\n"
        )
    finally:
        parts.outbox.close()
    return 0


def _said(parts: Parts) -> str:
    current, state = parts.slot.current, parts.slot.update_state()
    runs = f"{current.ref.name} release {current.ref.release} runs" if current else "no model yet"
    return f"{runs}{f'; {state.detail}' if state.detail else ''}\n"
