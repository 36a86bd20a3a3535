"""The product's own commands as child processes, and the promise that none outlives the story."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from runtime.contracts.errors import TouchstoneError

BIN = Path(sys.executable).parent
_STOP_S = 20.0
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Programs:
    """Starts commands, keeps their logs, and ends them all on leaving, whatever happened."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Programs:
        """Let SIGTERM and a closed terminal end the story as Ctrl-C does, so that its processes are ended, too."""
        for number in _INTERRUPTS:
            signal.signal(number, signal.default_int_handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _INTERRUPTS:  # nothing may cut this short
            signal.signal(number, signal.SIG_IGN)
        for name in list(self._running):
            self.stop(name)

    def run(self, program: str, *arguments: object, quiet: bool = True, secret: bool = False) -> str:
        """Run one command to its end and return what it printed.

        Args:
            program: console script of the product.
            arguments: its arguments.
            quiet: keep its standard error to the log; else let the user see its progress.
            secret: keep its arguments and its output out of the log.

        Raises:
            TouchstoneError: it failed; the message is its own last line.
        """
        command = [str(BIN / program), *map(str, arguments)]
        errors = self._logs / "commands.log"
        with errors.open("a") as log:
            log.write(f"$ {program} {arguments[0]} ...\n" if secret else f"$ {' '.join(command)}\n")
            log.flush()
            child = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log if quiet else None,
                text=True,
                env=self._environment,
                start_new_session=True,
            )
            self._running[program] = child
            try:
                output, _ = child.communicate()
            except BaseException:
                self.stop(program)
                raise
            del self._running[program]
            log.write("" if secret else output)
        if child.returncode:
            told = errors.read_text().strip().splitlines()[-1] if quiet else "see above"
            raise TouchstoneError(f"{program} {arguments[0]} failed with exit code {child.returncode}: {told}")
        return output

    def start(self, name: str, program: str, *arguments: object, timeout_s: float = 60.0) -> str:
        """Start a command that stays, and wait for its line that begins with ``ready``.

        Returns:
            That line.

        Raises:
            TouchstoneError: it ended or stayed silent; its log says why.
        """
        log = self._logs / f"{name}.log"
        with log.open("a") as errors:
            child = subprocess.Popen(
                [str(BIN / program), *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self._environment,
                start_new_session=True,
            )
        self._running[name] = child
        lines: list[str] = []
        ready = threading.Event()
        threading.Thread(target=_drain, args=(child, lines, ready), daemon=True).start()
        if not ready.wait(timeout_s) or not lines:
            self.stop(name)
            raise TouchstoneError(f"{name} ended, or was not ready within {timeout_s:.0f} s; read {log}")
        return lines[0]

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a command, politely first; by force where it does not listen. Unknown names are fine."""
        child = self._running.pop(name, None)
        if child is None or child.poll() is not None:
            return
        os.killpg(child.pid, how)
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def pid(self, name: str) -> int:
        """Return the process id of a running command."""
        return self._running[name].pid

    def forget(self, name: str) -> int:
        """Let a command go on after the story, and return its process id."""
        return self._running.pop(name).pid


def free_port() -> int:
    """Return a port on the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, done: Callable[[], bool], *, timeout_s: float, every_s: float = 0.2) -> None:
    """Poll until ``done``.

    Raises:
        TouchstoneError: it did not happen in time.
    """
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise TouchstoneError(f"waited {timeout_s:.0f} s in vain for {what}; read the logs")
        time.sleep(every_s)


def resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB, as Linux counts it."""
    fields: Mapping[str, str] = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return float(fields["VmRSS"].split()[0]) * 1024 / 1e6


def _drain(child: subprocess.Popen[str], lines: list[str], ready: threading.Event) -> None:
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            if line.startswith("ready"):
                lines.append(line.strip())
                ready.set()
    ready.set()
