"""From the start of a process to its first verdict: the agent's command against a bare script. And the agent at rest.

The agent's home is made by the product's own commands: a server, a signed release, an enrolment, an update. Then the
server ends, and the station is alone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil

from benchmarks.latency.children import Reply, peak_rss_mb
from benchmarks.latency.load import Between, Played, Taken
from benchmarks.latency.photos import Ring
from benchmarks.latency.systems.table import OURS, REPOSITORY
from benchmarks.programs import BIN, Programs, free_port, resident_mb, wait_for
from runtime.contracts.errors import StationFault

BARE = "bare-script"
"""The yardstick: no station, just the libraries."""
DOES = {
    OURS: "'touchstone-agent scan' on the home of an enrolled station",
    BARE: "imports numpy, OpenCV and ONNX Runtime, decodes the photo, and runs the float network once",
}
_FIRST_LINE_S = 60.0
_BARE_MODULE = "benchmarks.latency.systems.bare_script"


def make_home(bundle: Path, folder: Path, programs: Programs) -> Path:
    """Make the home of an enrolled station that runs the bundle, and whose server is gone.

    Raises:
        TouchstoneError: a command failed, or the station did not take the bundle.
    """
    server, keys, home = folder / "server", folder / "offline-keys", folder / "home"
    programs.run("touchstone-server", "init", "--home", server, "--offline-keys", keys, secret=True)
    programs.run("touchstone-server", "sign", bundle, "--offline-keys", keys)
    programs.run("touchstone-server", "publish", bundle, "--home", server)
    line = programs.start("server", "touchstone-server", "serve", "--home", server, "--port", "0")
    code = programs.run("touchstone-server", "enrolment-code", "--home", server, secret=True).strip()
    home.mkdir()
    (home / "agent.toml").write_text(f"desk_port = {free_port()}\n")  # 8377 may be a real station's
    address = line.rpartition(" ")[2]
    programs.run("touchstone-agent", "enrol", "--server", address, "--code", code, "--home", home, secret=True)
    programs.start("agent", "touchstone-agent", "run", "--home", home)
    wait_for("the bundle on the station", lambda: _runs(home, programs), timeout_s=120, every_s=1.0)
    programs.stop("agent")
    programs.stop("server")
    return home


def at_rest(home: Path, programs: Programs, seconds: float) -> dict[str, float]:
    """Start the agent, let it settle, and watch it do nothing: its resident memory, and its share of one core."""
    programs.start("agent", "touchstone-agent", "run", "--home", home)
    time.sleep(2.0)
    process = psutil.Process(programs.pid("agent"))
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    used_s = (after.user + after.system) - (before.user + before.system)
    size_mb = resident_mb(process.pid)
    programs.stop("agent")
    return {"idle_rss_mb": size_mb, "idle_cpu_percent": 100 * used_s / seconds}


def starts(
    commands: Mapping[str, Sequence[str]], ring: Ring, count: int, *, warm_up: int, seed: int, between: Between
) -> dict[str, Played]:
    """Start every command once a round, in an order drawn anew; see ``commands_of``.

    Args:
        commands: by system; ``{item}``, ``{view}`` and ``{photo}`` stand for what this round shows.
        ring: one photo each.
        count: rounds to count.
        warm_up: rounds before.
        seed: of the orders.
        between: called a few times in between.
    """
    random, names = np.random.default_rng(seed), list(commands)
    played = {name: Played() for name in names}
    first_ns = time.monotonic_ns()
    for number in range(warm_up + count):
        ((view, photo),) = ring.show(number).items()
        for index in random.permutation(len(names)):
            name = names[index]
            words = {"item": f"cold-{number}", "view": view, "photo": photo}
            started_ns = time.monotonic_ns()
            try:
                reply = first_line([word.format(**words) for word in commands[name]])
            except StationFault as error:
                played[name].failed.append(str(error))
                continue
            if number >= warm_up:
                taken = Taken(
                    number=number,
                    at_s=(started_ns - first_ns) / 1e9,
                    latency_ms=(reply.done_ns - started_ns) / 1e6,
                    reply=reply,
                )
                played[name].taken.append(taken)
        if number == warm_up + count // 2:
            between()
    return played


def commands_of(home: Path, network: Path) -> dict[str, list[str]]:
    """Return what is started: the agent's scan, and the bare script."""
    agent = [str(BIN / "touchstone-agent"), "scan", "--home", str(home), "--item", "{item}", "--view", "{view}={photo}"]
    return {OURS: agent, BARE: [sys.executable, "-m", _BARE_MODULE, str(network), "{photo}"]}


def first_line(command: Sequence[str]) -> Reply:
    """Run a program to its end; ``done_ns`` is when its first line came, its memory is the peak until then.

    Raises:
        StationFault: it printed nothing, or failed.
    """
    started_ns = time.monotonic_ns()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        told = bool(select.select([process.stdout], [], [], _FIRST_LINE_S)[0]) and bool(process.stdout.read(1))
        done_ns = time.monotonic_ns()
        peak_mb = peak_rss_mb(process.pid)
        if not told:
            os.kill(process.pid, signal.SIGKILL)  # Popen.kill would reap a process that has ended by itself
        process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for what is gone
    if not told or process.returncode:
        raise StationFault(f"{Path(command[0]).name}: it printed nothing, or ended with {process.returncode}")
    return Reply(
        started_ns=started_ns,
        done_ns=done_ns,
        cpu_ns=round((used.ru_utime + used.ru_stime) * 1e9),
        written_bytes=used.ru_oublock * 512,
        rss_mb=peak_mb,
    )


def _runs(home: Path, programs: Programs) -> bool:
    status = json.loads(programs.run("touchstone-agent", "status", "--json", "--home", home))
    return bool(status["release"] == 1)
