"""Where a server keeps its things, and ``server.toml``. Never reads the environment."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.codec import decode
from runtime.contracts.durable import write_durably
from runtime.contracts.errors import StationFault, Unsupported, Untrusted

CONFIG_FILE = "server.toml"
DEFAULT_AUDIT_SHARE = 0.02
DEFAULT_LABELS_NEEDED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One server.

    Attributes:
        home: folder of its secrets, photos and bundle files, and of its database unless that has a URL.
        database: SQLAlchemy URL.
        audit_share: share of all scans, 0 to 1, that stations draw for review before the verdict.
        labels_needed: lead that one answer needs over the other, at least 1.
    """

    home: Path
    database: str
    audit_share: float = DEFAULT_AUDIT_SHARE
    labels_needed: int = DEFAULT_LABELS_NEEDED

    @property
    def online_keys(self) -> Path:
        """Folder of the snapshot and timestamp keys."""
        return self.home / "online-keys"

    @property
    def audit_secret(self) -> Path:
        """File of the secret that each station's lottery key is derived from."""
        return self.home / "audit.secret"

    @property
    def blobs(self) -> Path:
        """Folder of photos and bundle files, by content hash."""
        return self.home / "blobs"

    @property
    def patches(self) -> Path:
        """Folder of patches between bundle files; it may be deleted, stations then fetch whole files."""
        return self.home / "patches"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ServerToml:
    database: str
    audit_share: float
    labels_needed: int


def settings_for(home: Path, *, database: str | None, audit_share: float, labels_needed: int) -> Settings:
    """Return checked settings; without a ``database`` URL, a SQLite file in ``home``.

    Raises:
        Unsupported: a value is out of its range.
    """
    if not (math.isfinite(audit_share) and 0.0 <= audit_share <= 1.0):
        raise Unsupported(f"audit_share: expected a share from 0 to 1, got {audit_share}")
    if labels_needed < 1:
        raise Unsupported(f"labels_needed: expected at least 1, got {labels_needed}")
    home = home.resolve()
    url = database or f"sqlite:///{home / 'server.sqlite'}"
    return Settings(home=home, database=url, audit_share=audit_share, labels_needed=labels_needed)


def read_settings(home: Path) -> Settings:
    """Read ``server.toml`` of an initialised home.

    Raises:
        StationFault: the home is not initialised, or its file cannot be read or holds an unknown key.
    """
    path = home / CONFIG_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        read = decode(_ServerToml, data, CONFIG_FILE)
        return settings_for(
            home,
            database=read.database or None,
            audit_share=read.audit_share,
            labels_needed=read.labels_needed,
        )
    except FileNotFoundError as error:
        raise StationFault(f"{home}: not an initialised server; run 'touchstone-server init --home {home} ...'") from (
            error
        )
    except (OSError, ValueError, Untrusted, Unsupported) as error:
        raise StationFault(f"{path}: {str(error).removeprefix(CONFIG_FILE + ': ')}; correct the file") from error


def write_settings(settings: Settings, database: str | None) -> None:
    """Write ``server.toml``: the last step of ``init``, and what makes a home an initialised one."""
    text = (
        "# Touchstone server. Unknown keys are refused. An empty database means server.sqlite in this folder.\n"
        f"database = {json.dumps(database or '')}\n"
        f"audit_share = {settings.audit_share!r}\n"
        f"labels_needed = {settings.labels_needed}\n"
    )
    path = settings.home / CONFIG_FILE
    write_durably(path, text.encode())
