"""Checks of the machine and of the home: settings, permissions, disk, service, camera. Writes one probe file."""

from __future__ import annotations

import dataclasses
import http.client
import os
import pwd
import queue
import secrets
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from edge_agent.config import Config
from edge_agent.desk.ask_http import SocketFile
from edge_agent.disk import free_bytes
from edge_agent.doctor.finding import Seen, fail, ok, warn
from edge_agent.doctor.subject import Subject
from edge_agent.unit import UNIT

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
UNIT_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NRestarts", "Result", "StatusText")

_PROBES, _PROBE_BYTES = 5, 4096
_SLOW_SYNC_MS = 50.0
_MEMORY_DISKS = ("tmpfs", "ramfs")
_FRAME_WITHIN_S = 3.0
_DESK_WITHIN_S = 5.0
_DARK = 2.0


def settings(subject: Subject) -> Seen:
    """Whether ``agent.toml`` can be read, and what it sets."""
    chosen, defaults = dataclasses.asdict(subject.config), dataclasses.asdict(Config())
    changed = [name for name, value in chosen.items() if value != defaults[name]]
    file = subject.home.config_file
    if subject.config.desk_pin is not None and file.stat().st_mode & 0o077:
        return warn(f"others may read the PIN in {file.name}", f"chmod 600 {file}")
    return ok(f"{subject.home.config_file.name} sets {', '.join(changed)}" if changed else "all defaults")


def home(subject: Subject) -> Seen:
    """Whether the home is there, this user's to write, and nobody else's to read."""
    root = subject.home.root
    if not root.is_dir():
        return fail(f"{root} is no folder", "run 'touchstone-agent install', or give the right --home")
    state = root.stat()
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        return fail(f"{root} is {_user(state.st_uid)}'s", f"run this as {_user(state.st_uid)}")
    strangers = [path.name for path in sorted(root.iterdir()) if _is_strange(path, state.st_uid)]
    if strangers:
        owner = _user(state.st_uid)
        return fail(
            f"{root} is {owner}'s, but {', '.join(strangers[:3])} belong to others: the agent cannot use them",
            f"chown -R {owner}: {root}; then run every command as {owner}",
        )
    if state.st_mode & 0o007:
        return warn(f"{root} is open to every user of this machine", f"chmod o-rwx {root}")
    return ok(f"{root}, {_user(state.st_uid)}'s")


def _is_strange(path: Path, owner: int) -> bool:
    return path.lstat().st_uid != owner and path.name != "lost+found"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def disk(subject: Subject) -> Seen:
    """Whether there is room for more photos."""
    free, wanted = free_bytes(subject.home.root), subject.config.min_free_bytes
    found = f"{free >> 20} MiB free; scanning stops below {wanted >> 20}, once only photos of cases are left"
    if free < wanted:
        return fail(found, "free some space, or let it sync: photos of confident records go first, cases never")
    if free < 2 * wanted:
        return warn(found, "free some space soon")
    return ok(found)


def durability(subject: Subject) -> Seen:
    """Whether what is written survives a power cut, and how long that takes: each verdict waits for it."""
    kind = _filesystem(subject.home.root, subject.proc)
    if kind in _MEMORY_DISKS:
        return fail(f"{subject.home.root} lies on {kind}: a power cut loses every case", "move the home to a disk")
    taken_ms = statistics.median(_sync_ms(subject.home.root) for _ in range(_PROBES))
    found = f"{taken_ms:.1f} ms to make {_PROBE_BYTES} bytes durable" + (f" on {kind}" if kind else "")
    if taken_ms > _SLOW_SYNC_MS:
        return warn(found, "every verdict waits for that: look at what else writes, or use a better disk")
    return ok(found)


def _sync_ms(folder: Path) -> float:
    probe = folder / f".doctor-{secrets.token_hex(4)}"
    started_ns = time.monotonic_ns()
    try:
        with probe.open("xb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)
    return (time.monotonic_ns() - started_ns) / 1e6


def _filesystem(folder: Path, proc: Path) -> str:
    mounts = [line.split() for line in (proc / "self/mounts").read_text(errors="replace").splitlines()]
    holding = [(len(words[1]), words[2]) for words in mounts if len(words) > 2 and folder.is_relative_to(words[1])]
    return max(holding, key=lambda one: one[0], default=(0, ""))[1]


def service(subject: Subject) -> Seen:
    """Whether the agent runs, as a service that comes back by itself."""
    return service_seen(_unit_properties(), subject.holder_of_lock())


def service_seen(unit: Mapping[str, str], process: int | None) -> Seen:
    """Judge the service.

    Args:
        unit: systemd's properties of the unit (``UNIT_PROPERTIES``); empty where systemd does not know it.
        process: the one that holds the home's lock.
    """
    log = f"see 'journalctl -u {UNIT}'"
    if unit.get("LoadState") != "loaded":
        if process is None:
            return warn("the agent does not run", "start 'touchstone-agent run', or 'touchstone-agent install' once")
        advice = "'touchstone-agent install' makes it a service, which comes back after a power cut"
        return warn(f"process {process} runs, but not as a service", advice)
    active, restarts = unit.get("ActiveState", ""), int(unit.get("NRestarts") or "0")
    if active == "failed":
        return fail(f"{UNIT} failed ({unit.get('Result')})", log)
    if active != "active":
        state = fail if unit.get("UnitFileState") == "enabled" else warn
        return state(f"{UNIT} is {active}", f"'systemctl enable --now {UNIT}'; if it does not stay, {log}")
    if process is None:
        return warn(f"{UNIT} runs, but on another home", "give this --home, or the unit's")
    found = f"{UNIT} runs: {unit.get('StatusText') or 'no status'}"
    if restarts:
        return warn(f"{found}; restarted {restarts} times by itself", log)
    if unit.get("UnitFileState") != "enabled":
        return warn(f"{found}; it will not start with the machine", f"systemctl enable {UNIT}")
    return ok(found)


def _unit_properties() -> Mapping[str, str]:
    if not BOOTED.is_dir():
        return {}
    command = ["systemctl", "show", UNIT, f"--property={','.join(UNIT_PROPERTIES)}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def desk(subject: Subject) -> Seen:
    """Whether the operator's page answers, if the agent runs."""
    config = subject.config
    where = f"{config.desk_host} port {config.desk_port}"
    if config.desk_port == 0:
        return ok("turned off")
    if subject.holder_of_lock() is None:
        return ok(f"answers at {where} while the agent runs")
    connection = SocketFile(subject.home.desk_socket)
    connection.timeout = _DESK_WITHIN_S
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return fail(f"no answer: {error}", f"restart the agent; if it stays so, see 'journalctl -u {UNIT}'")
    finally:
        connection.close()
    if status != http.client.OK:
        return warn(f"{where}: nothing can be scanned now", "see 'model' and 'disk'")
    return ok(f"answers at {where}")


def camera(subject: Subject) -> Seen:
    """Whether the camera of ``agent.toml`` gives a picture."""
    if subject.config.camera is None:
        return ok("none of its own")
    source = str(subject.config.camera)
    device = Path(f"/dev/video{source}" if source.isdigit() else source)
    holder = subject.holder_of(device.resolve()) if device.is_relative_to("/dev") else None
    if holder is not None:
        return ok(f"{source}: in use by process {holder}, so not opened")
    frame = _first_frame(source)
    if frame is None:
        advice = f"is it plugged in, and does this user belong to group video? 'ls -l {device}'; or correct 'camera'"
        return fail(f"{source}: no picture within {_FRAME_WITHIN_S:.0f} s", advice)
    width, height, brightness = frame
    found = f"{source}: {width} x {height} pixels"
    if brightness < _DARK:
        return warn(f"{found}, all black", "take the cap off, or switch the light on")
    return ok(found)


def _first_frame(source: str) -> tuple[int, int, float] | None:
    """Return width, height and mean brightness of the first picture; ``None`` where none comes in time."""
    frames: queue.Queue[tuple[int, int, float] | None] = queue.Queue()
    threading.Thread(target=lambda: frames.put(_open_and_read(source)), daemon=True).start()
    try:
        return frames.get(timeout=_FRAME_WITHIN_S)
    except queue.Empty:
        return None


def _open_and_read(source: str) -> tuple[int, int, float] | None:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong is told here
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(int(source)) if source.isdigit() else cv2.VideoCapture(source)
    try:
        is_good, pixels = capture.read()
        return (pixels.shape[1], pixels.shape[0], float(pixels.mean())) if is_good else None
    finally:
        capture.release()
