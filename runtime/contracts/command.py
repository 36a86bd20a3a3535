"""How every command starts, shows progress and ends: one line for a user's mistake, never a traceback."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from runtime.contracts.errors import TouchstoneError

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space there, or name a folder elsewhere"),
    errno.EISDIR: "name a file; this is a folder",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "name a folder; a file is in the way"),
    errno.ENOENT: "check the path; something on it does not exist",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check its permissions"),
    errno.EROFS: "this disk is read-only; name a folder elsewhere",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "too many files are open; use fewer workers, or raise 'ulimit -n'"),
}
_SILENT_S = 2.0
_BAR = 30


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse ``argv`` and call the chosen command: the parser's default ``command``, a function of the options.

    Returns:
        What the command returned (``None`` is 0); 2 after a mistake that one line on stderr explains; 130 after Ctrl-C.
    """
    options = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        return command(options) or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        return 0
    except (TouchstoneError, OSError) as error:
        said = what_the_system_refused(error) if isinstance(error, OSError) else str(error)
        print(f"{parser.prog}: {' '.join(said.split())}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; nothing half done was left behind", file=sys.stderr)  # noqa: T201
        return 130


def what_the_system_refused(error: OSError) -> str:
    """Say what the operating system refused, of which file, and what to do."""
    if error.errno is None:
        return str(error)
    place = error.filename2 or error.filename or "a file"
    todo = _REMEDIES.get(error.errno, "check the path and the disk")
    return f"{place}: {error.strerror or error} (errno {error.errno}); {todo}"


class Progress:
    """A bar on a terminal, a line every tenth elsewhere; nothing for work that is done within two seconds."""

    def __init__(self, what: str, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._clock = clock
        self._started_s = clock()
        self._tenth = 0
        self._open = False

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` (more than 0) are done."""
        elapsed_s = self._clock() - self._started_s
        if elapsed_s < _SILENT_S or (done >= total and not self._open and not self._tenth):
            return
        left = f"{self._what}: {done}/{total}, {elapsed_s * (total - done) / max(done, 1):.0f} s left"
        if self._stream.isatty():
            bar = ("#" * (_BAR * done // total)).ljust(_BAR, ".")
            self._open = done < total
            self._stream.write(f"\r[{bar}] {left}\x1b[K" + ("" if self._open else "\n"))
        elif 10 * done // total > self._tenth:
            self._tenth = 10 * done // total
            self._stream.write(left + "\n")
        self._stream.flush()


class StepProgress:
    """``Progress`` for work in named steps: a new name starts a new line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._steps: dict[str, Progress] = {}

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a step are done."""
        self._steps.setdefault(step, Progress(step, self._stream))(done, total)
