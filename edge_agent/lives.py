"""How often the agent has died with something unproved loaded: a model may kill the process that it is loaded into.

Only deaths within one boot of the machine count: a power cut is nobody's fault.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edge_agent.release_facts import Lives

MOST_DEATHS = 2
"""More deaths than these, and what is unproved is given up."""
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


def next_life(known: Lives | None, boot: str) -> Lives:
    """Return the account of a start of the agent."""
    if known is None or known.boot != boot:
        return Lives(boot=boot, deaths=0, alive=True)
    return dataclasses.replace(known, deaths=known.deaths + known.alive, alive=True)


def boot_id(file: Path = BOOT_FILE) -> str:
    """Return what names this boot of the machine; empty where the system does not say."""
    try:
        return file.read_text("ascii").strip()
    except OSError:
        return ""
