"""A link that loses and delays packets: two TUN devices, one of them in a network namespace, and this process between.

Needs root, ``ip`` and ``/dev/net/tun``, and no module of the kernel's. TCP on both sides is the kernel's own.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from benchmarks.faults.results import NotPermitted

PORT = 8300
"""Where the server is, on the far machine's own address."""
_SET_DEVICE, _TUN, _NO_HEADER = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_LONGEST_PACKET = 1 << 16
_numbers = itertools.count(1)


class LossyLink:
    """A network namespace whose ``127.0.0.1:8300`` is our server, over a link that loses and delays, each way."""

    def __init__(self, port: int, seed: str, *, loss: float, delay_s: float) -> None:
        """Lead to the server on ``port`` of this machine. ``loss`` and ``delay_s`` may change at any time."""
        self.loss, self.delay_s = loss, delay_s
        self.lost = self.packets = 0
        self._port = port
        self._random = random.Random(seed)  # noqa: S311 - weather, not a secret
        self._number = next(_numbers)
        self._space = f"faults-{os.getpid()}-{self._number}"
        self._stack = ExitStack()
        self._ended = threading.Event()

    @property
    def prefix(self) -> Sequence[str]:
        """What to begin a command with that is to run at the far end."""
        return ("ip", "netns", "exec", self._space)

    @property
    def url(self) -> str:
        """What a station at the far end should take for its server."""
        return f"http://127.0.0.1:{PORT}"

    def __enter__(self) -> LossyLink:
        """Make it.

        Raises:
            NotPermitted: this machine does not allow it.
        """
        with ExitStack() as stack:
            _ip("netns", "add", self._space)
            stack.callback(_ip, "netns", "del", self._space)
            names = [f"flt{os.getpid() % 100000}-{self._number}{end}" for end in "ab"]
            near, far = (_device(name) for name in names)
            stack.callback(os.close, near)
            stack.callback(os.close, far)
            ours, theirs = (f"10.213.{self._number % 250}.{end}" for end in (1, 2))
            inside = ("-n", self._space)
            _ip("link", "set", names[1], "netns", self._space)
            for where, name, own, other in (((), names[0], ours, theirs), (inside, names[1], theirs, ours)):
                _ip(*where, "addr", "add", own, "peer", other, "dev", name)
                _ip(*where, "link", "set", name, "up")
            _ip(*inside, "link", "set", "lo", "up")
            forward = threading.Thread(target=self._forward, args=(near, far), name="link")
            forward.start()
            stack.callback(forward.join)
            stack.callback(self._ended.set)
            port = _relay(stack, (), ours, 0, "127.0.0.1", self._port)
            _relay(stack, self.prefix, "127.0.0.1", PORT, ours, port)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._stack.close()

    def _forward(self, near: int, far: int) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        others = {near: far, far: near}
        while not self._ended.is_set():
            wait_s = min(0.1, max(0.0, waiting[0][0] - time.monotonic())) if waiting else 0.1
            for handle in select.select([near, far], [], [], wait_s)[0]:
                packet = os.read(handle, _LONGEST_PACKET)
                self.packets += 1
                if self._random.random() < self.loss:
                    self.lost += 1
                    continue
                heapq.heappush(waiting, (time.monotonic() + self.delay_s, self.packets, others[handle], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, handle, packet = heapq.heappop(waiting)
                os.write(handle, packet)


def _relay(stack: ExitStack, prefix: Sequence[str], host: str, port: int, far_host: str, far_port: int) -> int:
    command = [*prefix, sys.executable, "-m", "benchmarks.faults.relay", host, str(port), far_host, str(far_port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    if not line.startswith("ready"):
        raise NotPermitted(f"a relay on {host}:{port} ended with exit code {process.wait()}")
    return int(line.rpartition(":")[2])


def _device(name: str) -> int:
    try:
        handle = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(handle, _SET_DEVICE, struct.pack("16sH22x", name.encode(), _TUN | _NO_HEADER))
    except OSError as error:
        raise NotPermitted(f"/dev/net/tun: {error.strerror}") from error
    return handle


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotPermitted("ip is missing: apt-get install iproute2") from error
    if done.returncode:
        raise NotPermitted(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
