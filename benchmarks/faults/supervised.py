"""A program whose every change to a folder waits for our word: let go, refused with an errno, or killed before it.

The kernel's seccomp notification does the waiting (Linux 5.9; no root, no ptrace). Programs that it starts in turn are
supervised too. Never judges what the program did.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.faults.calls import ANSWER, IS_VALID, NOTIFICATION_BYTES, RECEIVE, answer, numbers, read_notification
from benchmarks.faults.launch import REFUSED
from benchmarks.faults.operations import Operation, operation_of
from benchmarks.faults.results import NotPermitted
from runtime.contracts.errors import StationFault

LET_GO, KILL = 0, -1
Decide = Callable[[int, Operation], int]
"""The number of an operation, from 1 on, and the operation, to ``LET_GO``, ``KILL`` or the errno that it fails with."""
_POLL_MS = 200


class Supervised:
    """One supervised program, from its start to the end of its last child. End it with ``wait``."""

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        decide: Decide,
        log: Path,
        *,
        with_data: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            command: an absolute path, and arguments.
            folder: whose changes count, and what leaves by a socket, standard output or error.
            decide: asked once for each of them, in one thread, in the order in which they begin.
            log: file for its standard output and error.
            with_data: whether ``decide`` needs the bytes that are written or shown.
            environment: of the program; None: this one's.

        Raises:
            NotPermitted: the kernel does not allow this here.
        """
        self.seen = 0
        self._folder = folder.resolve()
        self._decide = decide
        self._with_data = with_data
        self._names = numbers(platform.machine())
        self._failure: BaseException | None = None
        ours, theirs = socket.socketpair()
        launch = [sys.executable, "-m", "benchmarks.faults.launch", str(theirs.fileno())]
        with ours, theirs, log.open("ab") as output:
            self.process = subprocess.Popen(
                [*launch, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
            theirs.close()
            _, listeners, _, _ = socket.recv_fds(ours, 1, 1)
        if not listeners:
            code = self.process.wait()
            told = log.read_text().strip().rpartition("\n")[2]
            if code != REFUSED:
                raise StationFault(f"launch ended with exit code {code}: {told}")
            raise NotPermitted(told)
        self._listener = listeners[0]
        self._thread = threading.Thread(target=self._answer_all, name="supervise")
        self._thread.start()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end, and its children's; return its exit code, below 0 for a signal.

        Raises:
            subprocess.TimeoutExpired: it did not end in time, and was killed.
        """
        try:
            code = self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._thread.join()
        if self._failure is not None:
            raise self._failure
        return code

    def _answer_all(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        try:
            while True:
                events = poll.poll(_POLL_MS)
                if events and events[0][1] & select.POLLIN:
                    self._answer_one()
                elif events:  # nobody is left whom it concerns
                    return
        except BaseException as error:  # noqa: BLE001 - told by ``wait``; nothing may hang meanwhile
            self._failure = error
            self.process.kill()
        finally:
            os.close(self._listener)

    def _answer_one(self) -> None:
        raw = bytearray(NOTIFICATION_BYTES)
        try:
            fcntl.ioctl(self._listener, RECEIVE, raw)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):  # killed meanwhile
                return
            raise
        call = read_notification(bytes(raw), self._names)
        try:
            operation = operation_of(call, self._folder, with_data=self._with_data)
        except OSError:
            if self._is_there(call.cookie):
                raise
            return
        verdict = LET_GO
        if operation is not None and self.process.returncode is None:
            self.seen += 1
            verdict = self._decide(self.seen, operation)
        if verdict == KILL:
            self.process.kill()  # and no answer: the call is never made
            return
        try:
            fcntl.ioctl(self._listener, ANSWER, answer(call.cookie, verdict))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
                raise

    def _is_there(self, cookie: int) -> bool:
        try:
            fcntl.ioctl(self._listener, IS_VALID, cookie.to_bytes(8, sys.byteorder))
        except OSError:
            return False
        return True
