"""What systemd hears, through real sockets, and that nothing fails where it does not listen."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from edge_agent.sd_notify import Notifier
from tests.edge_agent.rigs import ServiceManager


def test_each_state_is_one_datagram_and_a_status_is_sent_when_it_changes(manager: ServiceManager) -> None:
    notifier = Notifier(manager.environment(watchdog_s=2.5))
    notifier.ready("scans")
    notifier.status("scans")
    notifier.ping()
    notifier.status("hung:\nwatch")
    notifier.stopping()
    assert manager.heard() == [
        "READY=1", "STATUS=scans", "WATCHDOG=1", "STATUS=hung: watch", "STOPPING=1", "STATUS=stopping",
    ]  # fmt: skip
    assert notifier.watchdog_s == 2.5


def test_a_socket_in_the_file_system_is_heard_too() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ts-"))  # a socket's path has 107 characters at most
    manager = ServiceManager(str(folder / "notify"))
    Notifier(manager.environment()).ready("scans")
    assert manager.heard() == ["READY=1", "STATUS=scans"]
    manager.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path", "@nobody-listens-here", "/nowhere/at/all"])
def test_nothing_fails_where_nobody_listens(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    notifier.ready("scans")
    notifier.ping()
    notifier.stopping()


def test_a_watchdog_of_another_process_is_none_of_ours(manager: ServiceManager) -> None:
    asked = manager.environment(watchdog_s=1)
    assert Notifier({**asked, "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 1
    for other in ({"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "often"}):
        assert Notifier({**asked, **other}).watchdog_s is None
    Notifier({**asked, "WATCHDOG_PID": "1"}).ping()
    assert manager.heard() == []
