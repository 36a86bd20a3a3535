"""A loop that hangs is named and stops the pings, one that only takes long does not, and no neighbour waits."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edge_agent.commands import run
from edge_agent.commands.run import LOOPS
from edge_agent.desk.serving import DRAIN_S
from edge_agent.home import Home
from edge_agent.pulse import Pulse, beat
from edge_agent.sd_notify import Notifier
from edge_agent.server_link import ServerLink
from edge_agent.supervisor import Loop, Supervisor
from edge_agent.trial import TrialOrder, run_trial
from edge_agent.unit import unit_text
from tests.edge_agent.rigs import Daemon, Say, ServiceManager, drop, recorded, scripted_server, wait_until

WATCHDOG_S = 0.2


def loop(name: str, step: Callable[[], float], silence_s: float = 0.25) -> Loop:
    return Loop(name=name, step=step, longest_wait_s=0.1, grace_s=0.1, longest_silence_s=silence_s)


def supervise(manager: ServiceManager, loops: list[Loop], seconds: float) -> list[str]:
    """Run loops for a while, and return what systemd heard in the second half of it, before they were stopped."""
    notifier = Notifier(manager.environment(WATCHDOG_S))
    supervisor = Supervisor(loops, threading.Event(), notifier=notifier, status=lambda: "all goes on")
    late: list[str] = []

    async def main() -> None:
        running = asyncio.create_task(supervisor.run())
        await asyncio.sleep(seconds / 2)
        manager.heard()
        await asyncio.sleep(seconds / 2)
        late.extend(manager.heard())
        supervisor.stop()
        await running

    asyncio.run(main())
    return late


def events(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str | None]]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [(line["event"], line.get("loop")) for line in lines]


@pytest.mark.parametrize("slow", LOOPS)
def test_a_loop_that_hangs_stops_the_pings_and_no_neighbour(
    slow: str, manager: ServiceManager, capsys: pytest.CaptureFixture[str]
) -> None:
    release = threading.Event()
    steps = dict.fromkeys(LOOPS, 0)

    def step(name: str) -> float:
        steps[name] += 1
        if name == slow:
            release.wait(10)
        return 0.01

    late = supervise(manager, [loop(name, partial(step, name)) for name in LOOPS], 1.2)
    release.set()
    assert "WATCHDOG=1" not in late
    assert ("hung", slow) in events(capsys)
    assert steps[slow] == 1
    assert min(count for name, count in steps.items() if name != slow) > 20


def test_systemd_is_told_which_loop_hangs(manager: ServiceManager) -> None:
    release = threading.Event()

    def hang() -> float:
        release.wait(10)
        return 1.0

    supervisor = Supervisor(
        [loop("watch", hang), loop("uplink", lambda: 0.01)],
        threading.Event(),
        notifier=Notifier(manager.environment(WATCHDOG_S)),
    )

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.8, supervisor.stop)
        assert not await supervisor.run()

    asyncio.run(main())
    release.set()
    told = [said for said in manager.heard() if said != "WATCHDOG=1"]
    assert told == ["STATUS=running", "STATUS=hung: watch", "STOPPING=1", "STATUS=stopping"]


def test_a_long_step_that_shows_progress_is_no_hang(
    manager: ServiceManager, capsys: pytest.CaptureFixture[str]
) -> None:
    def download() -> float:
        for _ in range(20):
            time.sleep(0.05)
            beat()
        return 60.0

    late = supervise(manager, [loop("update", download)], 1.6)
    assert late.count("WATCHDOG=1") >= 3
    assert events(capsys) == []


def test_a_loop_that_waits_for_its_next_step_is_no_hang(
    manager: ServiceManager, capsys: pytest.CaptureFixture[str]
) -> None:
    late = supervise(manager, [loop("heartbeat", lambda: 300.0)], 1.2)
    assert late.count("WATCHDOG=1") >= 3
    assert events(capsys) == []


def test_a_trial_shows_progress_for_as_long_as_it_runs() -> None:
    pulse, longest_s, ended = Pulse(), 0.0, threading.Event()
    order = TrialOrder(bundle="", variant=None, threads=1, timeout_s=30, max_bytes=0)
    command = (sys.executable, "-c", "import time; time.sleep(1.5)")

    def trial() -> None:
        pulse.beat()
        pulse.run(lambda: run_trial(order, stopping=threading.Event(), command=command))
        ended.set()

    thread = threading.Thread(target=trial)
    thread.start()
    while not ended.wait(0.02):
        longest_s = max(longest_s, pulse.silent_s())
    thread.join()
    assert 0 < longest_s < 1.0


def test_bytes_that_go_and_come_are_progress(link_to: Callable[..., ServerLink]) -> None:
    ticks = itertools.count()
    pulse = Pulse(now_s=lambda: float(next(ticks)))
    body = bytes(1024 * 1024)
    with scripted_server(lambda asked: Say(body=b"" if asked.body else body)) as (url, asked):
        link = link_to(url)
        pulse.run(lambda: link.request("PUT", "/v1/photos/x", body))
        sent = next(ticks)
        with link.stream("GET", "/v1/files/x") as chunks:
            pulse.run(lambda: list(chunks))
    assert asked[0].body == body
    assert asked[0].headers["Content-Length"] == str(len(body))
    assert sent >= 4
    assert next(ticks) > sent + 1


def test_a_beat_outside_of_a_loop_is_nothing() -> None:
    beat()


def test_the_documented_table_of_loops_is_the_one_that_runs() -> None:
    rows = [line.split(maxsplit=4) for line in (run.__doc__ or "").splitlines()]
    named = {row[0]: row[1:] for row in rows if row and row[0] in LOOPS}
    assert list(named) == list(LOOPS)
    for name, pace in LOOPS.items():
        back_off, silence, grace, behaviour = named[name]
        assert (float(back_off), float(silence)) == (pace.longest_wait_s, pace.longest_silence_s)
        assert (None if grace == "-" else float(grace)) == pace.grace_s
        assert len(behaviour) > 20


def test_systemd_waits_for_a_stop_as_long_as_it_may_take() -> None:
    unit = unit_text(program=["/opt/x"], home=Path("/var/lib/x"), user="x")
    (timeout,) = [line for line in unit.splitlines() if line.startswith("TimeoutStopSec=")]
    graces_s = sum(pace.grace_s or 0.0 for pace in LOOPS.values())
    assert float(timeout.partition("=")[2]) > LOOPS["watch"].longest_silence_s + graces_s + DRAIN_S


def test_a_daemon_that_hangs_is_silent_until_it_goes_on(
    home_with_model: Home, tmp_path: Path, manager: ServiceManager, photo_of: Callable[..., bytes]
) -> None:
    stuck = tmp_path / "stuck"
    command = [sys.executable, "-m", "tests.edge_agent.hangs", str(stuck), "0.5", "run", "--home"]
    daemon = Daemon(
        home_with_model.root,
        command=[*command, str(home_with_model.root)],
        environment=manager.environment(watchdog_s=0.2),
    )
    heard: list[str] = []

    def hears(what: str) -> bool:
        heard.extend(manager.heard())
        return any(said.startswith(what) for said in heard)

    wait_until(lambda: hears("READY=1"), "it is ready")
    assert heard.index("READY=1") == 0
    assert heard[1] == "STATUS=scans with tiny release 1, ort-cpu-float32"
    wait_until(lambda: hears("WATCHDOG=1"), "the first ping")
    stuck.touch()
    drop(home_with_model, "bag", logo=photo_of(140))
    wait_until(lambda: hears("STATUS=hung: watch"), "it says which loop hangs")
    manager.heard()
    time.sleep(1.0)
    assert "WATCHDOG=1" not in manager.heard()
    assert recorded(home_with_model) == 0
    stuck.unlink()
    heard.clear()
    wait_until(lambda: hears("WATCHDOG=1"), "the pings are back")
    wait_until(lambda: recorded(home_with_model) == 1, "the item is scanned")
    assert daemon.end() == 0
    assert hears("STOPPING=1")
    assert [one["loop"] for one in daemon.events("hung") + daemon.events("goes_on")] == ["watch", "watch"]


def test_a_server_that_stalls_holds_up_neither_scans_nor_the_end(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    with scripted_server(lambda _: Say(pause_s=30)) as (url, asked):
        (home_with_model.config_file).write_text(f'{home_with_model.config_file.read_text()}server = "{url}"\n')
        for item in range(3):
            drop(home_with_model, f"bag {item}", logo=photo_of(140, seed=item))
        daemon = Daemon(home_with_model.root)
        daemon.ready_line()
        wait_until(lambda: recorded(home_with_model) == 3, "scans go on")
        wait_until(lambda: asked, "the server is asked")
        started_s = time.monotonic()
        assert daemon.end(signal.SIGTERM) == 0
        assert time.monotonic() - started_s < 12
    assert {one["loop"] for one in daemon.events("left_in_hand")} <= {"uplink", "update"}


def test_what_the_watchdog_kills_leaves_the_stacks_in_its_log_and_loses_nothing(
    home_with_model: Home, tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    stuck = tmp_path / "stuck"
    stuck.touch()
    command = [sys.executable, "-m", "tests.edge_agent.hangs", str(stuck), "0.2", "run", "--home"]
    daemon = Daemon(home_with_model.root, command=[*command, str(home_with_model.root)])
    daemon.ready_line()
    drop(home_with_model, "bag", logo=photo_of(140))
    wait_until(lambda: daemon.events("hung"), "the watch loop hangs")
    assert daemon.end(signal.SIGABRT) == -signal.SIGABRT  # as systemd does, systemd.service(5)
    assert "in hanging" in daemon.log.read_text()
    again = Daemon(home_with_model.root)
    again.ready_line()
    wait_until(lambda: recorded(home_with_model) == 1, "the item is scanned after the restart")
    assert again.end() == 0
