"""Run ``touchstone-agent`` so that its watch loop hangs while a file is there: ``FILE SILENCE_S ARGUMENT...``."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from edge_agent import cli
from edge_agent.agent import Watch
from edge_agent.commands import run


def main() -> int:
    file, silence_s, *arguments = sys.argv[1:]
    step = Watch.step

    def hanging(self: Watch) -> float:
        while Path(file).exists():
            time.sleep(0.02)
        return step(self)

    Watch.step = hanging
    run.LOOPS = {**run.LOOPS, "watch": replace(run.LOOPS["watch"], longest_silence_s=float(silence_s))}
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
