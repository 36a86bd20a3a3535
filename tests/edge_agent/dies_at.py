"""Run ``touchstone-agent`` and cut its power at the Nth thing it does to the disk: ``N COUNT_FILE ARGUMENT...``.

Counts what Python's audit hooks report: files opened for writing, renamed, removed, folders made, children started; and
the moment before, and the one after, each step of a release that is written to the outbox. N of 0 only counts, and
writes the count to COUNT_FILE.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "subprocess.Popen", "os.symlink"}


def main() -> int:
    deadly, count_file, *arguments = sys.argv[1:]
    home = arguments[arguments.index("--home") + 1]
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == int(deadly):
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, details: tuple[object, ...]) -> None:
        writes = event == "open" and str(details[0]).startswith(home) and details[1] not in ("r", "rb", None)
        if event in EVENTS or writes:
            step()

    from edge_agent.cli import main as agent
    from edge_agent.outbox import Outbox

    set_facts = Outbox.set_facts

    def counted(outbox: Outbox, facts: Mapping[str, str]) -> None:
        step()
        set_facts(outbox, facts)
        step()

    Outbox.set_facts = counted  # type: ignore[method-assign]
    sys.addaudithook(hook)
    code = agent(arguments)
    Path(count_file).write_text(str(count))
    return code


if __name__ == "__main__":
    sys.exit(main())
