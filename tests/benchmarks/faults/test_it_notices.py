"""The suite notices: an agent that is broken on purpose, one mistake at a time, fails it and the sound one does not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.faults.results import read_lines

REPOSITORY = Path(__file__).parents[3]
ROOMS = ("benchmarks", "calibration_data", "edge_agent", "optimize", "runtime", "sync_server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """``old`` in ``file`` becomes ``new``, and so on; ``command`` of the suite then says what matches ``says``."""

    file: str
    old: str
    new: str
    command: str
    says: str
    also: tuple[tuple[str, str, str], ...] = ()


MISTAKES = {
    "a photo is not synced": Mistake(
        file="runtime/contracts/durable.py",
        old="            write_durably(path, data)\n        return sha256",
        new="            path.write_bytes(data)\n            sync_folder(path.parent)\n        return sha256",
        command="power-cut --only items --quick",
        says="without its photos|not acked",
    ),
    "acked before the server's word": Mistake(
        file="edge_agent/uplink.py",
        old="                sent = self._send(leased)",
        new="                self._ack(leased)\n                sent = self._send(leased)",
        command="kills --only case --quick",
        says=r"cases at the server: \[0\]",
    ),
    "the photo goes before the ack": Mistake(
        file="edge_agent/uplink.py",
        old="                if sent:\n",
        new="                if sent:\n                    for one in leased.record.views:\n"
        "                        self._upload._photos.path(one.photo).unlink(missing_ok=True)\n",
        command="kills --only case --quick",
        says="without its photos",
    ),
    "an id drawn at random": Mistake(
        file="edge_agent/station.py",
        old="        return record_id_of(self._identity.station_id, ItemId(item_id), hashed, listing)",
        new="        drawn = ItemId(item_id + os.urandom(8).hex())\n"
        "        return record_id_of(self._identity.station_id, drawn, hashed, listing)",
        command="kills --only case --part 1/2",  # few points lie between the record and the emptied inbox
        says="recorded 2 times",
    ),
    "a release is committed before its bytes are on the disk": Mistake(
        file="edge_agent/downloads.py",
        old="            write_durably(temp / entry.path, self._fetched(entry))",
        new="            (temp / entry.path).write_bytes(self._fetched(entry))",
        command="power-cut --only swap --quick",
        says="committed bundle|does not restart",
    ),
    "expiry is judged by the station's own clock": Mistake(
        file="edge_agent/updates.py",
        old="        now = trusted_now(clock, self._link.clock_offset_s, self._slot.book.time_floor())",
        new="        now = clock",
        also=(("edge_agent/signed_releases.py", "        _check_expiry(signed)\n", ""),),  # the second line of defence
        command="clock --only back",
        says="expired|runs release",
    ),
    "no back-off": Mistake(
        file="edge_agent/back_off.py",
        old="    return whole_s * (0.5 + 0.5 * random_source.random())",
        new="    return 0.02",
        command="network --only storm-1 --quick",
        says="the back-off allows",
    ),
    "a full disk is the item's fault": Mistake(
        file="edge_agent/agent.py",
        old="        except Unsupported as error:\n            place = reject",
        new="        except (Unsupported, StationFault) as error:\n            place = reject",
        command="disk-full --only one --quick",
        says="rejected",
    ),
    "a handle is left open with each scan": Mistake(
        file="edge_agent/station.py",
        old="        self._metrics.scanned(record)\n",
        new="        self._metrics.scanned(record)\n        os.open(os.devnull, os.O_RDONLY)\n",
        command="endurance --quick",
        says="handles_growth",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", MISTAKES)
def test_a_broken_agent_fails_the_suite(name: str, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in ((mistake.file, mistake.old, mistake.new), *mistake.also):
        source = (tmp_path / file).read_text()
        assert source.count(old) == 1
        begin = "from __future__ import annotations\n"
        (tmp_path / file).write_text(source.replace(old, new).replace(begin, f"{begin}import os\n", 1))
    out = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "benchmarks.faults", *mistake.command.split(), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = [failure.why for line in read_lines(out) for failure in line.outcome.failures]
    assert any(re.search(mistake.says, why) for why in found), found
