"""The TUF client: asks the server's repository for one release and believes only what the offline keys signed.

python-tuf does the verifying. What it leaves to its caller is done here: it never syncs its cache to disk and silently
ignores a local file that it cannot read, so the highest versions seen are kept in the outbox as well; it reads the
system clock, so the time is handed in, and nothing may have expired before the timestamp itself was signed; and it
would accept a delegated role, so the release is looked up once more in the top-level targets.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from edge_agent.admission import MAX_ROOTS, TARGETS_FILE, last_root, root_file, verify
from edge_agent.disk import disk_errors
from edge_agent.home import Home
from edge_agent.outbox import Outbox
from edge_agent.release_source import ReleaseSource
from edge_agent.server_link import Refused
from edge_agent.trusted_time import agreed, floor_of
from edge_agent.tuf_marks import Mark, read_marks, write_marks
from runtime.contracts.codec import decode
from runtime.contracts.durable import sync_folder
from runtime.contracts.errors import TouchstoneError, TryLater, Untrusted
from runtime.contracts.records import BundleId
from runtime.contracts.sync import SIGNED_AT, ReleaseInfo, moment, target_path

MAX_MANIFEST_BYTES = 16 * 1024 * 1024
_ROLES = ("timestamp", "snapshot", "targets")
_OFFLINE = "targets"
_METADATA_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRelease:
    """One release, verified: its facts, its bundle id, its manifest's length, and the metadata that admits it."""

    info: ReleaseInfo
    bundle_id: BundleId
    manifest_size: int
    metadata: Mapping[str, bytes]


class SignedReleases:
    """The server's signed releases. One update at a time; python-tuf's cache is not made for more."""

    def __init__(self, *, home: Home, outbox: Outbox, link: ReleaseSource, pinned_root: bytes) -> None:
        self._cache = home.tuf_cache
        self._outbox = outbox
        self._link = link
        self._pinned_root = pinned_root

    def find(self, target: str, now: datetime, clock: datetime) -> SignedRelease:
        """Return what is signed of the release at TUF target ``target``.

        Args:
            target: what the server says this station should run.
            now: the time that expiry is judged by; the caller's best word, not this machine's clock alone.
            clock: what this machine's clock says.

        Raises:
            TryLater: the server is down, answers something else, or its metadata has expired.
            Untrusted: a signature, a version or a name does not hold.
        """
        with disk_errors("update metadata"), _tuf_errors():
            updater = Updater(
                str(self._cache),
                f"{self._link.server}/v1/tuf/",
                fetcher=LinkFetcher(self._link),
                bootstrap=self._pinned_root,
            )
            # python-tuf offers no public way to hand in the time; a test fails should this name change.
            updater._trusted_set.reference_time = now
            updater.refresh()  # TUF 5.3 to 5.6
            metadata = self._admitting_metadata()
            self._check_marks(metadata, clock)
            found = updater.get_targetinfo(target)
        if found is None:
            raise Untrusted(f"update {target!r}: the server names it, but no offline key signed it; it is not taken")
        info = decode(ReleaseInfo, found.custom, f"update {target!r}")
        if target_path(info) != target or found.length > MAX_MANIFEST_BYTES or "sha256" not in found.hashes:
            raise Untrusted(f"update {target!r}: what was signed of it belongs to {target_path(info)!r}")
        bundle_id = BundleId(found.hashes["sha256"])
        verify(metadata, bundle_id, info.release, self._pinned_root)  # top-level targets, by the chain kept with it
        return SignedRelease(info=info, bundle_id=bundle_id, manifest_size=found.length, metadata=metadata)

    def _admitting_metadata(self) -> dict[str, bytes]:
        history = self._cache / "root_history"
        files = [history / root_file(version) for version in range(1, MAX_ROOTS)]
        metadata = {path.name: path.read_bytes() for path in files if path.is_file()}
        metadata[TARGETS_FILE] = (self._cache / TARGETS_FILE).read_bytes()
        return metadata

    def _check_marks(self, metadata: Mapping[str, bytes], clock: datetime) -> None:
        """Refuse a rollback that a lost or torn cache file hid from python-tuf (TUF 5.4.3, 5.5.5, 5.6.4)."""
        root = last_root(metadata, self._pinned_root)
        known = read_marks(self._outbox)
        signed = {role: Metadata.from_bytes((self._cache / f"{role}.json").read_bytes()).signed for role in _ROLES}
        _check_expiry(signed)
        marks = {"root": Mark(keys=(), version=root.version)}
        for role in _ROLES:
            # TUF 5.3.11: new keys for a role end the rollback protection of what the old keys signed.
            keys = tuple(sorted(root.roles[role].keyids))
            before = known.get(role)
            seen = before.signed_at if before is not None and before.keys == keys else ""
            marks[role] = Mark(keys=keys, version=signed[role].version, signed_at=_later(seen, signed[role], clock))
        for role, mark in marks.items():
            before = known.get(role)
            if before is not None and before.keys == mark.keys and mark.version < before.version:
                raise Untrusted(f"{role} metadata: version {before.version} was seen before, got {mark.version}")
        if marks != known:
            self._sync_cache()
            write_marks(self._outbox, marks)

    def _sync_cache(self) -> None:
        for folder in (self._cache / "root_history", self._cache):
            for path in folder.iterdir():
                if path.is_file():
                    sync_folder(path)  # syncing a file or a folder is the same call
            sync_folder(folder)


def _check_expiry(signed: Mapping[str, Any]) -> None:
    stamped = moment(signed["timestamp"].unrecognized_fields.get(SIGNED_AT))
    for role, one in signed.items():
        if stamped is not None and one.expires <= stamped:
            raise ExpiredMetadataError(f"{role}.json had expired before the timestamp was signed")


def _later(seen: str, signed: Any, clock: datetime) -> str:
    """Return the latest trustworthy moment of a role: what was seen, or when this was signed, if that is later."""
    at = moment(signed.unrecognized_fields.get(SIGNED_AT))
    if at is not None and signed.type != _OFFLINE:
        at = agreed(clock, at)
    latest = floor_of((seen, at.isoformat() if at else ""))
    return latest.isoformat() if latest else ""


class LinkFetcher(FetcherInterface):
    """python-tuf's port to the network, over the agent's own link, bounded in bytes and in time."""

    def __init__(self, link: ReleaseSource) -> None:
        self._link = link

    def _fetch(self, url: str) -> Iterator[bytes]:
        deadline = time.monotonic() + _METADATA_WITHIN_S
        try:
            with self._link.stream("GET", url.removeprefix(self._link.server)) as chunks:
                for chunk in chunks:
                    if time.monotonic() > deadline:
                        raise DownloadError(f"{url}: took longer than {_METADATA_WITHIN_S:.0f} s")
                    yield chunk
        except Refused as error:
            raise DownloadHTTPError(str(error), error.status) from error
        except TouchstoneError as error:
            raise DownloadError(str(error)) from error

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Give the bytes of ``url`` from memory: metadata is small, and the system's temporary folder is not ours."""
        data = bytearray()
        for chunk in self.fetch(url):
            data += chunk
            if len(data) > max_length:
                raise DownloadLengthMismatchError(f"{url}: longer than {max_length} bytes")
        yield io.BytesIO(bytes(data))


@contextmanager
def _tuf_errors() -> Iterator[None]:
    try:
        yield
    except ExpiredMetadataError as error:
        raise TryLater(f"update metadata: {error}; updates wait for fresh metadata, scanning goes on") from error
    except (DownloadLengthMismatchError, DeserializationError) as error:
        raise TryLater(f"update metadata: the server sent something else ({error}); will ask again") from error
    except DownloadError as error:
        raise TryLater(f"update metadata: {error}") from error
    except RepositoryError as error:
        raise Untrusted(f"update metadata: {error}; it is not taken") from error


def read_pinned_root(path: Path) -> bytes:
    """Return the root that enrolment pinned.

    Raises:
        StationFault: it cannot be read.
    """
    with disk_errors(str(path)):
        return path.read_bytes()
