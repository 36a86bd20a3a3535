"""Steps are whole or absent, whoever is killed while making them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimize.step_cache import StepCache, default_cache
from optimize.toolchain import installed

KEY = {"input": "abc", "version": 1}
DAY_S = 86_400.0

_KILLED = """
import os, signal, sys
from pathlib import Path
from optimize.step_cache import StepCache

def make(draft):
    for number in range(int(sys.argv[2])):
        (draft / f"{number}.bin").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

StepCache(Path(sys.argv[1])).step("s", {"input": "abc", "version": 1}, make)
"""

_DIES_AT = """
import os, signal, sys
from pathlib import Path
from optimize.step_cache import StepCache
from optimize.toolchain import toolchain_digest

left = int(sys.argv[2])

def die(event, arguments):
    global left
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "shutil.rmtree"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

def make(draft):
    for name in ("a", "b"):
        (draft / name).write_text("whole")

toolchain_digest()
sys.addaudithook(die)
StepCache(Path(sys.argv[1])).step("s", {"input": "abc", "version": 1}, make)
"""

_RACING = """
import sys, time
from pathlib import Path
from optimize.step_cache import StepCache

folder, own, other = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])

def make(draft):
    (draft / "part-1").write_text("one")
    own.touch()
    while not other.exists():
        time.sleep(0.005)
    (draft / "part-2").write_text("two")

print(StepCache(folder).step("s", {"input": "abc"}, make))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    value: float


def fill(draft: Path) -> None:
    (draft / "0.bin").write_bytes(b"whole")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "step.json")


def refuse(draft: Path) -> None:
    pytest.fail("it is finished, and was made again")


def age(path: Path, days: float, now_s: float) -> None:
    os.utime(path, (now_s - days * DAY_S,) * 2)


def test_a_step_is_made_once_and_found_by_everybody_afterwards(tmp_path: Path) -> None:
    made = StepCache(tmp_path).step("s", KEY, fill)
    assert (made / "0.bin").read_bytes() == b"whole"
    other = StepCache(tmp_path)
    assert other.step("s", KEY, refuse) == made
    assert other.find("s", dict(reversed(KEY.items()))) == made
    assert names(tmp_path) == [made.name]


def test_to_look_for_a_step_makes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert StepCache(folder).find("s", KEY) is None
    assert not folder.exists()
    assert StepCache(folder).sweep() == 0
    assert not folder.exists()


@pytest.mark.parametrize("error", [ValueError("no"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_whatever_making_a_step_raises_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    def fail(draft: Path) -> None:
        fill(draft)
        raise error

    cache = StepCache(tmp_path)
    with pytest.raises(type(error)):
        cache.step("s", KEY, fail)
    assert names(tmp_path) == []
    assert cache.find("s", KEY) is None
    assert (cache.step("s", KEY, fill) / "0.bin").read_bytes() == b"whole"


@pytest.mark.parametrize("files", [0, 3])
def test_a_killed_process_leaves_no_finished_step_and_the_next_one_makes_it(tmp_path: Path, files: int) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), str(files)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (draft,) = names(tmp_path)
    assert draft.endswith(".tmp")
    cache = StepCache(tmp_path)
    assert cache.find("s", KEY) is None
    made = cache.step("s", KEY, fill)
    assert names(made) == ["0.bin"]
    assert cache.sweep((tmp_path / draft).stat().st_mtime + 1.1 * DAY_S) == 1
    assert names(tmp_path) == [made.name]


def test_a_step_is_whole_or_absent_wherever_its_process_was_killed(tmp_path: Path) -> None:
    """Each child dies before another of its calls of the system, until one lives."""
    outcomes = []
    for calls in range(40):
        folder = tmp_path / str(calls)
        died = subprocess.run([sys.executable, "-c", _DIES_AT, str(folder), str(calls)], capture_output=True)
        assert died.returncode in (0, -signal.SIGKILL), died.stderr
        found = StepCache(folder).find("s", KEY)
        assert found is None or {name: (found / name).read_text() for name in names(found)} == {
            "a": "whole",
            "b": "whole",
        }
        outcomes.append(found is not None)
        if died.returncode == 0:
            break
    assert died.returncode == 0
    assert outcomes[-1]
    assert outcomes.count(False) >= 4


def test_two_processes_that_make_the_same_step_at_once_agree_on_one(tmp_path: Path) -> None:
    folder, flags = tmp_path / "cache", [tmp_path / "a", tmp_path / "b"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _RACING, str(folder), str(own), str(other)], stdout=subprocess.PIPE, text=True
        )
        for own, other in (flags, flags[::-1])
    ]
    said = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    (made,) = [Path(text.strip()) for text in said]
    assert names(folder) == [made.name]
    assert {name: (made / name).read_text() for name in names(made)} == {"part-1": "one", "part-2": "two"}


def test_a_value_is_computed_once(tmp_path: Path) -> None:
    cache, calls = StepCache(tmp_path), []

    def make() -> Figure:
        calls.append(1)
        return Figure(name="x", value=0.1)

    assert [cache.value("v", KEY, Figure, make) for _ in range(3)] == [Figure(name="x", value=0.1)] * 3
    assert len(calls) == 1


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_a_step_that_the_disk_has_changed_is_made_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    StepCache(folder).step("s", KEY, fill)
    file = StepCache(folder).step("s", KEY, refuse) / data.draw(st.sampled_from(["0.bin", "step.json"]))
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    torn = data.draw(st.sampled_from([whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]]))
    file.write_bytes(torn)
    assert StepCache(folder).find("s", KEY) is None
    made = StepCache(folder).step("s", KEY, fill)
    assert (made / "0.bin").read_bytes() == b"whole"
    (made / "0.bin").unlink()
    assert StepCache(folder).find("s", KEY) is None
    assert names(folder) == []


def test_a_step_that_got_a_file_more_is_made_again(tmp_path: Path) -> None:
    (StepCache(tmp_path).step("s", KEY, fill) / "stray").touch()
    assert StepCache(tmp_path).find("s", KEY) is None


def test_what_others_put_on_the_path_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = installed()
    assert any(line.startswith("numpy ") for line in before)
    (tmp_path / "vendored-1.0.dist-info").mkdir()
    (tmp_path / "vendored-1.0.dist-info" / "METADATA").write_text("Name: vendored\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed() == before


def test_a_change_of_our_code_or_of_what_is_installed_makes_every_step_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StepCache(tmp_path).step("s", KEY, fill)
    monkeypatch.setattr("optimize.step_cache.toolchain_digest", lambda: "another")
    assert StepCache(tmp_path).find("s", KEY) is None


def test_a_value_that_cannot_be_computed_leaves_nothing_behind(tmp_path: Path) -> None:
    def make() -> Figure:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        StepCache(tmp_path).value("v", KEY, Figure, make)
    assert names(tmp_path) == []


def test_a_sweep_removes_what_nobody_used_for_a_month_and_what_killed_builds_left(tmp_path: Path) -> None:
    cache, now_s = StepCache(tmp_path), 2e9
    days = {"old": 31, "young": 29}
    folders = {name: cache.step(name, KEY, fill) for name in days}
    for name, old in days.items():
        age(folders[name], old, now_s)
    for name, old in {".dead.tmp": 1.1, ".running.tmp": 0.9}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("x")
        age(tmp_path / name, old, now_s)
    assert cache.sweep(now_s) == 2
    assert names(tmp_path) == [".running.tmp", folders["young"].name]


def test_builds_that_sweep_at_once_do_not_trip_over_each_other(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"s-{number}").mkdir()
        os.utime(tmp_path / f"s-{number}", (0, 0))
    with ThreadPoolExecutor(4) as pool:
        swept = list(pool.map(lambda _: StepCache(tmp_path).sweep(), range(4)))
    assert sum(swept) >= 200
    assert names(tmp_path) == []


def test_to_find_a_step_keeps_it_from_the_next_sweep(tmp_path: Path) -> None:
    cache = StepCache(tmp_path)
    found, left = cache.step("used", KEY, fill), cache.step("left", KEY, fill)
    for path in (found, left):
        os.utime(path, (0, 0))
    cache.find("used", KEY)
    assert cache.sweep() == 1
    assert names(tmp_path) == [found.name]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
keys = st.dictionaries(st.text(max_size=3).filter(lambda name: name != "step"), plain, max_size=3)


@settings(deadline=None, max_examples=60)
@given(keys, keys, st.sampled_from(["a", "b"]))
def test_one_step_is_found_for_another_only_if_everything_that_went_in_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, object], other: dict[str, object], name: str
) -> None:
    cache = StepCache(tmp_path_factory.mktemp("keys"))
    made = cache.step("a", one, fill)
    same = name == "a" and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert cache.find(name, other) == (made if same else None)


def test_the_cache_lies_where_the_system_says_that_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "touchstone" / "optimize"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / ".cache" / "touchstone" / "optimize"
