"""One system's process: started, asked and ended, with a limit on every wait. Never restarts one that died.

Answers come in the order of the orders; a thread reads them, so that orders can be sent on a schedule meanwhile. The
pipe is the queue, and is made as long as the kernel allows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.latency.systems.protocol import Setup
from runtime.contracts.errors import StationFault, Unsupported

READY_S = 900.0
"""A peer compiles its model before it is ready."""
ANSWER_S = 120.0
_PIPE_BYTES = 1 << 20  # /proc/sys/fs/pipe-max-size of an unprivileged process


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a system answered; times are of CLOCK_MONOTONIC. ``failed`` holds its complaint, else it is empty."""

    started_ns: int = 0
    done_ns: int = 0
    cpu_ns: int = 0
    written_bytes: int = 0
    verdict: str = ""
    rss_mb: float = 0.0
    failed: str = ""
    cannot: str = ""


class Child:
    """A running system. ``does`` is its own sentence about itself; ``ready_rss_mb`` its size before the first order."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self.name = name
        self.does = ""
        self.ready_rss_mb = 0.0
        self._process = process
        self._log = log
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name=f"read {name}", daemon=True).start()

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], folder: Path, setup: Setup, log: Path, *, ready_s: float = READY_S
    ) -> Child:
        """Start a system and wait until it is ready.

        Args:
            name: of the system.
            command: that runs it, but for the ``Setup``.
            folder: to run it in.
            setup: what it is given.
            log: file for what it writes to standard error.
            ready_s: how long it may take.

        Raises:
            StationFault: it ended or stayed silent; the message has the last line that it wrote.
            Unsupported: it says that it cannot take part.
        """
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [*command, json.dumps(asdict(setup))],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        child = cls(name, process, log)
        with contextlib.suppress(OSError):  # a shorter queue is noticed as a late schedule
            fcntl.fcntl(_pipe(process.stdin), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            hello = child._next(ready_s)
        except StationFault:
            child.close()
            raise
        if "absent" in hello:
            child.close()
            raise Unsupported(f"system {name}: {hello['absent']}")
        child.does, child.ready_rss_mb = str(hello.get("does", "")), float(hello.get("rss_mb", 0.0))
        return child

    def send(self, order: Mapping[str, Any]) -> None:
        """Give an order, without waiting for its answer.

        Raises:
            StationFault: the process is gone.
        """
        pipe = _pipe(self._process.stdin)
        try:
            pipe.write(json.dumps(order) + "\n")
            pipe.flush()
        except OSError as error:
            raise self._fault("it closed its pipe") from error

    def receive(self, timeout_s: float = ANSWER_S) -> Reply:
        """Wait for the next answer.

        Raises:
            StationFault: the process died, or the time is over.
        """
        told = self._next(timeout_s)
        return Reply(**{name: told[name] for name in Reply.__dataclass_fields__ if name in told})

    def ask(self, order: Mapping[str, Any], timeout_s: float = ANSWER_S) -> Reply:
        """Give an order and wait for its answer; see ``send`` and ``receive``."""
        self.send(order)
        return self.receive(timeout_s)

    def forget_peak(self) -> None:
        """Let the greatest resident size count from now (proc(5), clear_refs)."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", "ascii")

    def peak_rss_mb(self) -> float:
        """Return the greatest resident size; 0 of a process that is gone."""
        return peak_rss_mb(self._process.pid)

    def close(self) -> None:
        """End the process: politely, then by force."""
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _next(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty as error:
            self._process.kill()  # what it answers later would be taken for the next answer
            raise self._fault(f"it did not answer within {timeout_s:.0f} s") from error
        if line is None:
            self._process.wait()
            raise self._fault(f"it ended with exit code {self._process.returncode}")
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            self._process.kill()
            raise self._fault(f"expected one JSON object a line, got {line[:80]!r}")
        return told

    def _read(self) -> None:
        with _pipe(self._process.stdout) as pipe:
            for line in pipe:
                self._lines.put(line)
        self._lines.put(None)

    def _fault(self, what: str) -> StationFault:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return StationFault(f"system {self.name}: {what}; its last word: {lines[-1][:300] if lines else 'none'}")


def peak_rss_mb(pid: int) -> float:
    """Return the greatest resident size of a process; 0 where it is gone.

    Not ``getrusage``: its maximum outlives ``exec``, so a child would be as large as the suite that started it.
    """
    try:
        told = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return 0.0
    peaks = [int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM:")]
    return peaks[0] * 1024 / 1e6 if peaks else 0.0


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # every child is started with both
    return pipe
