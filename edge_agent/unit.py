"""The systemd unit of a station, as text. Writes nothing and starts nothing; see ``edge_agent.commands.install``.

It may write to the station's home and nowhere else, see the camera and the accelerator and no other device, and become
nobody else. systemd restarts it for ever, also when its watchdog hears nothing (``edge_agent.supervisor``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from runtime.contracts.errors import Unsupported

UNIT = "touchstone-agent.service"
UNIT_FILE = Path("/etc/systemd/system", UNIT)
STATE = Path("/var/lib")
HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ``ProtectHome`` hides: neither the program nor the home may lie there."""

_PLAIN = re.compile(r"/[\w.+-][\w./+-]*", re.ASCII)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

_TEXT = """\
# Written by 'touchstone-agent install', each time anew: to change something, 'systemctl edit touchstone-agent'.

[Unit]
Description=Touchstone agent: tells genuine from counterfeit on this station
# It scans without a network, so it waits for none; and it is never given up.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} run --home {home}
User={user}
Group={user}
Restart=always
RestartSec=5

# The agent says every few seconds that all its loops go on. The start includes loading and checking the model; the stop
# finishes the scan in hand.
WatchdogSec=60
TimeoutStartSec=300
TimeoutStopSec=150

# Where it may write. The group may read: that of a camera's program, say.
{state}ReadWritePaths={home}
UMask=0027
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes

# What it may see: cameras, and the accelerators of NVIDIA and Intel.
SupplementaryGroups=video
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-drm rw
DeviceAllow=char-nvidia* rw
# Not ProcSubset=pid: which variant may run here depends on /proc/cpuinfo.
ProtectProc=invisible

# What it may do. Not MemoryDenyWriteExecute: OpenVINO and TensorRT compile as they load.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes

# A trial that takes too much memory is killed alone, and the model that runs goes on. No dump may hold the key.
MemoryMax=75%
OOMPolicy=continue
LimitCORE=0

[Install]
WantedBy=multi-user.target
"""


def unit_text(*, program: Sequence[str], home: Path, user: str) -> str:
    """Return the unit.

    Args:
        program: what starts ``touchstone-agent``, an absolute path first.
        home: the station's folder, absolute.
        user: the system user and group that it runs as.

    Raises:
        Unsupported: a path has other characters than letters, digits and ``. _ + - /``, or lies where the unit's
            ``ProtectHome`` would hide it; or the user cannot be called so.
    """
    if not _USER.fullmatch(user):
        raise Unsupported(f"user {user!r}: expected at most 32 lower-case letters, digits, _ and -, a letter first")
    for what, path in (("program", Path(program[0])), ("home", home)):
        check_place(what, path)
    is_state = home.is_relative_to(STATE) and home != STATE
    state = f"StateDirectory={home.relative_to(STATE)}\nStateDirectoryMode=0750\n" if is_state else ""
    return _TEXT.format(program=" ".join(program), home=home, user=user, state=state)


def check_place(what: str, path: Path) -> None:
    """Check that the unit can name ``path``, and that its process will see it.

    Raises:
        Unsupported: it cannot, or will not.
    """
    if not _PLAIN.fullmatch(str(path)) or ".." in path.parts:
        raise Unsupported(f"{what} {str(path)!r}: expected an absolute path of letters, digits and . _ + - /")
    hidden = next((place for place in HIDDEN if path.is_relative_to(place)), None)
    if hidden is not None:
        raise Unsupported(
            f"{what} {path}: the unit's ProtectHome hides {hidden} from the agent; put it elsewhere "
            f"({'a venv in /opt/touchstone, say' if what == 'program' else '/var/lib/touchstone, say'})"
        )
