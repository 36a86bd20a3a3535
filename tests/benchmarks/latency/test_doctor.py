"""What the doctor finds on prepared machines, and that it runs on this one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks.latency import doctor as module
from benchmarks.latency.doctor import Check, Diagnosis, doctor

QUIET = "cpu  1000 0 500 90000 100 0 50 0\n"


class Machine:
    """Folders like /proc and /sys of a quiet, fixed, real machine; a test changes what it is about."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.sys, self.work = folder / "proc", folder / "sys", folder / "work"
        self.work.mkdir(parents=True)
        self.tell("proc/stat", QUIET)
        self.tell("proc/cpuinfo", "flags : avx2 avx512_vnni avx512_bf16\n")
        self.tell("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n")
        self.tell("proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n")
        self.tell("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
        self.tell("sys/devices/system/cpu/cpufreq/boost", "0\n")
        self.tell("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "0\n")
        self.tell("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
        self.tell("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
        self.meanwhile: Callable[[], None] = lambda: self.tell("proc/stat", "cpu  1001 0 500 90198 101 0 50 0\n")

    def tell(self, path: str, text: str) -> None:
        file = self.proc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def forget(self, path: str) -> None:
        shutil.rmtree(self.proc.parent / path)

    def look(self, environment: Mapping[str, str] | None = None, work: Path | None = None) -> Diagnosis:
        def wait(_: float) -> None:
            self.meanwhile()

        return doctor(work or self.work, environment or {}, proc=self.proc, sys=self.sys, wait=wait)


def named(found: Diagnosis, name: str) -> Check:
    return next(check for check in found.checks if check.name == name)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return Machine(tmp_path)


def test_a_quiet_fixed_machine_gets_no_warning(machine: Machine) -> None:
    found = machine.look()
    assert [check for check in found.checks if check.state != "ok" or check.advice] == []
    assert found.is_fit
    assert "this machine is fit to be measured" in found.as_text()


def test_a_busy_machine_is_unfit_and_who_is_busy_is_named(machine: Machine) -> None:
    machine.tell("proc/77/stat", "77 (ffmpeg (x) y) R 1 1 1 0 -1 0 0 0 0 0 100 10 0 0 20 0\n")
    machine.tell("proc/78/stat", "78 (sleeper) S 1 1 1 0 -1 0 0 0 0 0 5 5 0 0 20 0\n")

    def work() -> None:
        machine.tell("proc/stat", "cpu  1080 0 510 90108 102 0 50 0\n")
        machine.tell("proc/77/stat", "77 (ffmpeg (x) y) R 1 1 1 0 -1 0 0 0 0 0 160 20 0 0 20 0\n")

    machine.meanwhile = work
    found = machine.look()
    assert not found.is_fit
    assert named(found, "load").state == "unfit"
    assert named(found, "load").found == "45 % of the processor over 1 s"
    assert named(found, "other processes").found == "ffmpeg (x) y 77 (70 % of a core)"
    assert "this machine is NOT fit to be measured now" in found.as_text()


def test_time_that_the_host_takes_is_a_warning(machine: Machine) -> None:
    machine.meanwhile = lambda: machine.tell("proc/stat", "cpu  1000 0 500 90180 100 0 50 20\n")
    assert named(machine.look(), "stolen time").found == "10.0 %"
    assert named(machine.look(), "stolen time").state == "ok"  # a count of the past is none of now


def test_heat_is_unfit_now_and_a_warning_afterwards(machine: Machine) -> None:
    count = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    machine.meanwhile = lambda: machine.tell(count, "4\n")
    assert named(machine.look(), "throttling") == Check(
        name="throttling",
        state="unfit",
        found="4 times in this second",
        advice="it is too hot: cool it, then run again",
    )
    assert named(machine.look(), "throttling").state == "warning"
    machine.forget("sys/devices/system/cpu/cpu0/thermal_throttle")
    assert "not counted here" in named(machine.look(), "throttling").found


@pytest.mark.parametrize(
    ("path", "text", "check", "found"),
    [
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n", "frequency", "governor powersave"),
        ("sys/devices/system/cpu/cpufreq/boost", "1\n", "frequency", "governor performance, boost on"),
        ("sys/devices/system/cpu/intel_pstate/no_turbo", "0\n", "frequency", "governor performance, boost on"),
        ("proc/cpuinfo", "flags : avx2 avx_vnni amx_bf16 hypervisor\n", "virtual machine", "yes"),
        ("proc/meminfo", "MemAvailable: 1000000 kB\n", "memory", "1.0 GB available"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n", "clock", "hpet"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n", "huge pages", "always"),
        (
            "sys/fs/cgroup/cpu.max",
            "150000 100000\n",
            "cores",
            "2, but this container may use only 1.5 of them at a time",
        ),
    ],
)
def test_what_bends_figures_is_a_warning_with_advice(
    machine: Machine, path: str, text: str, check: str, found: str
) -> None:
    machine.tell(path, text)
    diagnosis = machine.look()
    assert (named(diagnosis, check).state, named(diagnosis, check).found) == ("warning", found)
    assert named(diagnosis, check).advice
    assert [one.name for one in diagnosis.checks if one.state != "ok"] == [check]
    assert diagnosis.is_fit
    assert f"-> {named(diagnosis, check).advice}" in diagnosis.as_text()


def test_a_container_without_a_limit_or_with_enough_is_well(machine: Machine) -> None:
    for text in ("max 100000\n", "200000 100000\n"):
        machine.tell("sys/fs/cgroup/cpu.max", text)
        assert named(machine.look(), "cores") == Check(name="cores", state="ok", found="2")


def test_one_core_is_a_warning(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert "a second one" in named(machine.look(), "cores").advice


def test_a_frequency_that_nobody_tells_is_a_warning(machine: Machine) -> None:
    machine.forget("sys/devices/system/cpu/cpu0/cpufreq")
    assert named(machine.look(), "frequency").found == "no governor (the system does not say)"
    machine.tell("proc/cpuinfo", "flags : avx2 hypervisor\n")
    assert named(machine.look(), "frequency").found == "no governor (the host decides)"


def test_a_disk_in_memory_is_unfit_and_the_deepest_mount_counts(machine: Machine) -> None:
    mounts = f"/dev/sda1 / ext4 rw 0 0\ntmpfs {machine.work.resolve()} tmpfs rw 0 0\n"
    machine.tell("proc/self/mounts", mounts)
    found = machine.look()
    assert named(found, "disk").state == "unfit"
    assert named(found, "disk").found.endswith("GB free on tmpfs")
    assert not found.is_fit
    assert machine.look(work=machine.work.parent).is_fit
    assert named(machine.look(work=machine.work / "not" / "made"), "disk").state == "unfit"


def test_a_full_disk_is_unfit(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(machine.work))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(100 * 10**9, 99 * 10**9, 10**9))
    assert named(machine.look(), "disk").state == "unfit"
    assert "99 % full" in named(machine.look(), "disk").advice


def test_variants_whose_instructions_are_absent_are_named(machine: Machine) -> None:
    machine.tell("proc/cpuinfo", "flags : sse2 avx2\n")
    found = named(machine.look(), "instruction sets")
    assert found.state == "warning"
    can, cannot = found.found.split("; not ")
    assert "ort-cpu-int8-avx2" in can
    assert cannot == "ort-cpu-int8, openvino-bf16, openvino-int8"


def test_variables_that_change_threads_are_named_and_others_are_not(machine: Machine) -> None:
    found = named(machine.look({"OMP_NUM_THREADS": "1", "HOME": "/", "KMP_BLOCKTIME": "200"}), "thread settings")
    assert (found.state, found.found) == ("warning", "KMP_BLOCKTIME=200, OMP_NUM_THREADS=1")


def test_engines_are_told_with_versions_and_only_the_needed_one_must_be_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert named(machine.look(), "engine onnxruntime").found[0].isdigit()
    monkeypatch.setattr(module, "is_installed", lambda engine: False)
    found = machine.look()
    assert named(found, "engine openvino") == Check(name="engine openvino", state="ok", found="not installed")
    assert named(found, "engine onnxruntime").advice == "every system needs it: pip install onnxruntime"
    assert not found.is_fit


def test_a_system_that_tells_nothing_is_looked_at_all_the_same(tmp_path: Path) -> None:
    found = doctor(tmp_path, {}, proc=tmp_path / "none", sys=tmp_path / "none", wait=lambda _: None)
    assert named(found, "clock").found == "unknown"
    assert named(found, "huge pages").found == "unknown"
    assert "unknown kind" in named(found, "disk").found


def test_it_runs_on_this_machine() -> None:
    found = doctor(Path.cwd(), os.environ, wait=lambda _: None)
    assert named(found, "engine onnxruntime").state == "ok"
    assert all(check.advice for check in found.checks if check.state != "ok")
    assert len(found.as_text().splitlines()) > len(found.checks)
