"""Where everything of one station lies, under one folder. Holds paths only; creates the folders, reads nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runtime.contracts.durable import make_folder
from runtime.contracts.errors import StationFault

HOME_VARIABLE = "TOUCHSTONE_HOME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The folder of one station. Two stations never share one; the daemon and ``scan`` of one station do."""

    root: Path

    @property
    def config_file(self) -> Path:
        """``agent.toml``, written by a person."""
        return self.root / "agent.toml"

    @property
    def key_file(self) -> Path:
        """The device's private key, readable by its owner only."""
        return self.root / "device.key"

    @property
    def identity_file(self) -> Path:
        """What enrolment gave; its being there is what "enrolled" means."""
        return self.root / "station.json"

    @property
    def root_metadata_file(self) -> Path:
        """The TUF root that the enrolment code pinned."""
        return self.root / "root.json"

    @property
    def database_file(self) -> Path:
        """The outbox."""
        return self.root / "station.db"

    @property
    def lock_file(self) -> Path:
        """Held by the one running daemon."""
        return self.root / "run.lock"

    @property
    def desk_socket(self) -> Path:
        """Where the running daemon's desk answers programs of its own user, ``scan`` among them."""
        return self.root / "desk.sock"

    @property
    def photos(self) -> Path:
        """Sanitised photos by content hash."""
        return self.root / "photos"

    @property
    def inbox(self) -> Path:
        """Finished item folders are renamed into here."""
        return self.root / "inbox"

    @property
    def rejected(self) -> Path:
        """Item folders that cannot be scanned, each with a ``reason.txt``."""
        return self.root / "rejected"

    @property
    def bundles(self) -> Path:
        """Verified bundles, each in a folder named by its bundle id."""
        return self.root / "bundles"

    @property
    def incoming(self) -> Path:
        """Verified files of a bundle that is still being fetched, by content hash."""
        return self.root / "incoming"

    @property
    def tuf_cache(self) -> Path:
        """The metadata cache of python-tuf."""
        return self.root / "tuf"

    def create(self) -> None:
        """Make the folders that are written to.

        Raises:
            StationFault: the disk or its permissions do not allow it.
        """
        try:
            if not self.root.exists():
                make_folder(self.root)
                self.root.chmod(0o700)  # once: a person may open it for a camera's user
            for folder in (self.photos, self.inbox, self.rejected, self.bundles, self.incoming, self.tuf_cache):
                make_folder(folder)
        except OSError as error:
            raise StationFault(f"{self.root}: cannot create the station's folders ({error.strerror})") from error


def home_folder(argument: str | None) -> Path:
    """Return the home folder: the argument, else the environment's, else ``~/.touchstone``."""
    return Path(argument or os.environ.get(HOME_VARIABLE) or Path.home() / ".touchstone").absolute()
