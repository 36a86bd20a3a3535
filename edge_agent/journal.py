"""One line of JSON for each event, on standard error. Never holds a secret: callers pass facts, not objects.

A line that cannot be written (full disk, closed pipe) is dropped: no work ever fails because of its log.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime

_one_line_at_a_time = threading.Lock()


def note(event: str, **facts: str | int | float | bool | None) -> None:
    """Write one line if it can be written: the time, ``event``, and the facts in the order given."""
    line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts})
    with _one_line_at_a_time, suppress(OSError):
        if sys.stderr is not None:  # None where it was closed before the start
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
