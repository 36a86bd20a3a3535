"""Whether this machine can be measured honestly now: what it is, what disturbs it, and what to do about it.

Reads /proc and /sys for a second, changes nothing and times nothing. A warning is said beside the figures; what makes
the machine unfit would make them INVALID, by the same limits (``validity``).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from benchmarks.fingerprint import governor
from benchmarks.latency import validity
from optimize.targets.openvino import SLOTS as OPENVINO_SLOTS
from optimize.targets.x86 import SLOTS as X86_SLOTS
from runtime.cores import core_count
from runtime.engine import BACKENDS, LIBRARIES, cpu_flags, is_installed

State = Literal["ok", "warning", "unfit"]

PROC, SYS = Path("/proc"), Path("/sys")
WATCH_S = 1.0
MIN_FREE_GB = 2.0
MAX_STOLEN_PERCENT = 1.0
HEAVY_PERCENT = 5.0
"""Of one core: a process that uses more than this is named."""

_MOST_NAMED = 3
_GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
_MEMORY_DISKS = ("tmpfs", "ramfs")
_NEEDED = "onnxruntime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: what was found, and, unless it is ok, what to do."""

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything that was looked at."""

    checks: tuple[Check, ...]

    @property
    def is_fit(self) -> bool:
        """Whether figures taken now may be used; warnings are allowed."""
        return all(check.state != "unfit" for check in self.checks)

    def as_text(self) -> str:
        """Say it for a terminal: a line a check, and below it what to do."""
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.state:<7}  {check.name:<{width}}  {check.found}")
            lines += [f"{'':<9}{'':<{width}}  -> {check.advice}"] if check.advice else []
        last = "fit to be measured" if self.is_fit else "NOT fit to be measured now"
        return "\n".join([*lines, "", f"this machine is {last}"]) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """What the kernel has counted so far. Processes as ``pid name`` to ticks, without this one."""

    busy_ticks: int
    stolen_ticks: int
    all_ticks: int
    processes: Mapping[str, int]
    throttled: int | None


def doctor(
    work: Path,
    environment: Mapping[str, str],
    *,
    proc: Path = PROC,
    sys: Path = SYS,
    wait: Callable[[float], None] = time.sleep,
) -> Diagnosis:
    """Look at this machine.

    Args:
        work: folder on the disk that a run would write to; it need not be there yet.
        environment: of this process.
        proc: where the kernel tells of processes.
        sys: where it tells of devices.
        wait: for so many seconds, between two readings of what it counts.
    """
    before = _moment(proc, sys)
    wait(WATCH_S)
    after = _moment(proc, sys)
    flags = cpu_flags(proc / "cpuinfo")
    checks = [
        _cores(sys),
        *_load(before, after),
        _frequency(sys, flags),
        _throttling(before, after),
        _virtual(flags),
        _memory(proc),
        _disk(work, proc),
        _clock(sys),
        _huge_pages(sys),
        *_engines(),
        _instructions(flags),
        _threads(environment),
    ]
    return Diagnosis(checks=tuple(checks))


def _cores(sys: Path) -> Check:
    cores, quota = core_count(), _read(sys / "fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max" and int(quota[0]) < cores * int(quota[1]):
        return Check(
            name="cores",
            state="warning",
            found=f"{cores}, but this container may use only {int(quota[0]) / int(quota[1]):g} of them at a time",
            advice="lift the limit of processor time, or pin the container to whole cores instead",
        )
    if cores == 1:
        advice = "the suite and the system under test share the only core: give the machine a second one"
        return Check(name="cores", state="warning", found="1", advice=advice)
    return Check(name="cores", state="ok", found=str(cores))


def _load(before: _Moment, after: _Moment) -> Iterator[Check]:
    passed = max(after.all_ticks - before.all_ticks, 1)
    busy = 100 * (after.busy_ticks - before.busy_ticks) / passed
    complaint = validity.busy(busy)
    yield Check(
        name="load",
        state="unfit" if complaint else "ok",
        found=f"{busy:.0f} % of the processor over {WATCH_S:g} s",
        advice=complaint,
    )
    used = {who: ticks - before.processes.get(who, ticks) for who, ticks in after.processes.items()}
    tick_percent = 100 * core_count() / passed
    heavy = sorted((who for who in used if used[who] * tick_percent > HEAVY_PERCENT), key=used.__getitem__)[::-1]
    named = ", ".join(f"{who} ({used[who] * tick_percent:.0f} % of a core)" for who in heavy[:_MOST_NAMED])
    yield Check(
        name="other processes",
        state="warning" if heavy else "ok",
        found=named or "none that is busy",
        advice="end them, or wait until they are done" if heavy else "",
    )
    stolen = 100 * (after.stolen_ticks - before.stolen_ticks) / passed
    shares = stolen > MAX_STOLEN_PERCENT
    yield Check(
        name="stolen time",
        state="warning" if shares else "ok",
        found=f"{stolen:.1f} %",
        advice="the host gives this machine's time to others: measure on dedicated cores" if shares else "",
    )


def _frequency(sys: Path, flags: frozenset[str]) -> Check:
    cpus = sys / "devices/system/cpu"
    chosen = governor(cpus)
    if not chosen:
        where = "the host decides" if "hypervisor" in flags else "the system does not say"
        advice = "its speed can only be inferred: read the reference times that decide VALID, and repeat the run"
        return Check(name="frequency", state="warning", found=f"no governor ({where})", advice=advice)
    found = f"governor {chosen}"
    if chosen != "performance":
        advice = "set it for the run: cpupower frequency-set -g performance"
        return Check(name="frequency", state="warning", found=found, advice=advice)
    boosted = _read(cpus / "cpufreq/boost") == "1" or _read(cpus / "intel_pstate/no_turbo") == "0"
    if boosted:
        advice = "speed depends on heat and on the other cores: repeat the run, or switch boost off to compare versions"
        return Check(name="frequency", state="warning", found=f"{found}, boost on", advice=advice)
    return Check(name="frequency", state="ok", found=f"{found}, no boost")


def _throttling(before: _Moment, after: _Moment) -> Check:
    if before.throttled is None or after.throttled is None:
        return Check(name="throttling", state="ok", found="not counted here; a run notices it by its reference times")
    if after.throttled > before.throttled:
        found = f"{after.throttled - before.throttled} times in this second"
        return Check(name="throttling", state="unfit", found=found, advice="it is too hot: cool it, then run again")
    if after.throttled:
        found = f"{after.throttled} times since it started, not now"
        return Check(name="throttling", state="warning", found=found, advice="cool it better, or rest between runs")
    return Check(name="throttling", state="ok", found="never since it started")


def _virtual(flags: frozenset[str]) -> Check:
    if "hypervisor" not in flags:
        return Check(name="virtual machine", state="ok", found="no")
    advice = "neighbours are invisible: say so beside the figures, and trust ratios taken in turn, not single times"
    return Check(name="virtual machine", state="warning", found="yes", advice=advice)


def _memory(proc: Path) -> Check:
    lines = dict(line.split(":", 1) for line in _read(proc / "meminfo").splitlines() if ":" in line)
    free_gb = int(lines.get("MemAvailable", "0 kB").split()[0]) * 1024 / 1e9
    few = free_gb < MIN_FREE_GB
    return Check(
        name="memory",
        state="warning" if few else "ok",
        found=f"{free_gb:.1f} GB available",
        advice=f"make {MIN_FREE_GB:g} GB available, or photos leave the file cache in mid-run" if few else "",
    )


def _disk(work: Path, proc: Path) -> Check:
    folder = next(one for one in (work.resolve(), *work.resolve().parents) if one.exists())
    disk = shutil.disk_usage(folder)
    complaint = validity.disk_nearly_full(disk.free, disk.total)
    kind = _filesystem(folder, proc)
    found = f"{disk.free / 1e9:.0f} GB free on {kind or 'a disk of unknown kind'}"
    if complaint:
        return Check(name="disk", state="unfit", found=found, advice=complaint)
    if kind in _MEMORY_DISKS:
        advice = "an fsync costs nothing there, so no verdict is durable: name a folder on the disk with --work"
        return Check(name="disk", state="unfit", found=found, advice=advice)
    return Check(name="disk", state="ok", found=found)


def _filesystem(folder: Path, proc: Path) -> str:
    """Return the kind of the file system that holds a folder; the longest mount point that it lies under counts."""
    mounts = [line.split() for line in _read(proc / "self/mounts").splitlines()]
    holding = [(len(words[1]), words[2]) for words in mounts if len(words) > 2 and folder.is_relative_to(words[1])]
    return max(holding, key=lambda one: one[0], default=(0, ""))[1]


def _clock(sys: Path) -> Check:
    name = _read(sys / "devices/system/clocksource/clocksource0/current_clocksource")
    good = name in _GOOD_CLOCKS
    return Check(
        name="clock",
        state="ok" if good else "warning",
        found=name or "unknown",
        advice="" if good else "reading it may cost a system call, microseconds each: expect it in every figure",
    )


def _huge_pages(sys: Path) -> Check:
    setting = _read(sys / "kernel/mm/transparent_hugepage/enabled")
    chosen = setting.partition("[")[2].partition("]")[0] or "unknown"
    always = chosen == "always"
    return Check(
        name="huge pages",
        state="warning" if always else "ok",
        found=chosen,
        advice="resident memory grows in steps of 2 MB by the kernel's mood: set madvise for the soak"
        if always
        else "",
    )


def _engines() -> Iterator[Check]:
    for engine in BACKENDS:
        installed = is_installed(engine)
        needed = engine == _NEEDED and not installed
        yield Check(
            name=f"engine {engine}",
            state="unfit" if needed else "ok",
            found=_version(LIBRARIES[engine]) if installed else "not installed",
            advice=f"every system needs it: pip install {LIBRARIES[engine]}" if needed else "",
        )


def _instructions(flags: frozenset[str]) -> Check:
    needs = {slot.name: slot.isa for slot in (*X86_SLOTS, *OPENVINO_SLOTS)}
    lacking = [name for name, isa in needs.items() if any(not flags & set(need.split("|")) for need in isa)]
    runs = [name for name in needs if name not in lacking]
    return Check(
        name="instruction sets",
        state="warning" if lacking else "ok",
        found=f"variants {', '.join(runs)} can run" + (f"; not {', '.join(lacking)}" if lacking else ""),
        advice="measure those on a station that has them; nothing here speaks for it" if lacking else "",
    )


def _threads(environment: Mapping[str, str]) -> Check:
    mentioned = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "ORT_", "TBB_", "MALLOC_", "LD_PRELOAD")
    found = [f"{name}={value}" for name, value in sorted(environment.items()) if name.startswith(mentioned)]
    return Check(
        name="thread settings",
        state="warning" if found else "ok",
        found=", ".join(found) or "no variable changes threads, spinning or memory",
        advice="unset them, unless every station has them" if found else "",
    )


def _moment(proc: Path, sys: Path) -> _Moment:
    words = (
        _read(proc / "stat").split("\n", 1)[0].split()[1:9]
    )  # proc(5): user nice system idle iowait irq softirq steal
    ticks = [int(word) for word in words] + [0] * (8 - len(words))
    counts = [_read(path) for path in (sys / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")]
    return _Moment(
        busy_ticks=sum(ticks) - ticks[3] - ticks[4],
        stolen_ticks=ticks[7],
        all_ticks=sum(ticks),
        processes=dict(_processes(proc)),
        throttled=sum(int(count) for count in counts) if counts else None,
    )


def _processes(proc: Path) -> Iterator[tuple[str, int]]:
    for path in proc.glob("[0-9]*/stat"):
        name, _, rest = _read(path).partition(" (")[2].rpartition(") ")  # a name may hold brackets itself
        fields = rest.split()
        if len(fields) > 12 and int(path.parent.name) != os.getpid():
            yield f"{name} {path.parent.name}", int(fields[11]) + int(fields[12])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "installed, of unknown version"
