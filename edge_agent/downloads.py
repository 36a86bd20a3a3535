"""Fetches the bundle of a verified release: only files not on this disk already, each checked while it streams.

A file that replaces an older one comes as a patch, where the server has one; whatever is wrong with a patch, the whole
file is fetched instead. A bundle folder appears under its id whole or not at all. A file that was fetched once survives
any crash, so a download goes on where it stopped, file by file.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from edge_agent.admission import keep_admission
from edge_agent.disk import disk_errors, free_bytes
from edge_agent.home import Home
from edge_agent.journal import note
from edge_agent.patches import patched
from edge_agent.pulse import beating
from edge_agent.release_source import ReleaseSource
from edge_agent.server_link import RefusedForGood
from edge_agent.signed_releases import SignedRelease
from runtime.bundle_store import open_bundle
from runtime.contracts.bundle import MANIFEST_FILE, BundleManifest, FileEntry, read_manifest
from runtime.contracts.durable import ContentFolder, make_folder, sha256_hex, sync_folder, write_durably
from runtime.contracts.errors import StationFault, TouchstoneError, TryLater, Untrusted
from runtime.contracts.records import BundleId
from runtime.contracts.sync import MAX_PATCHED_BYTES, MIN_PATCHED_BYTES, NOTHING, patch_path

_NEW = ".new-"
_BROKEN = ".broken-"
_SLOWEST_BYTES_PER_S = 4096
_PATIENCE_S = 120.0


class Downloads:
    """The bundle folders of one station. One fetch at a time.

    Attributes:
        received_bytes: what came from the source, since this object was made.
        received_files: how many files of bundles came, whole or as patches.
    """

    def __init__(self, *, home: Home, link: ReleaseSource, min_free_bytes: int) -> None:
        self.received_bytes = self.received_files = 0
        self._bundles = home.bundles
        self._incoming = ContentFolder(home.incoming)
        self._link = link
        self._min_free_bytes = min_free_bytes

    def fetch(self, release: SignedRelease) -> Path:
        """Return the folder with the bundle of ``release``, every byte verified, its admission beside it.

        Raises:
            TryLater: the server is down, or sent other bytes than were signed; or bytes on this disk have changed.
            Untrusted: the manifest, as signed, is none, or contradicts itself; it never will be one.
            Unsupported: the manifest is of a newer version than this agent reads.
            StationFault: there is too little disk space.
        """
        with disk_errors(f"update to release {release.info.release}"):
            place = self._bundles / release.bundle_id
            if not _is_whole(place, release.bundle_id):
                raw = self._bounded(f"/v1/files/{release.bundle_id}", release.bundle_id, release.manifest_size)
                manifest = read_manifest(raw)
                self._fetch_files(manifest)
                self._assemble(place, raw, manifest, release)
            keep_admission(place, release.info.release, release.metadata)
            return place

    def sweep(self) -> None:
        """Delete the half-made folders and files that a crash left; what is whole stays."""
        with disk_errors("bundles"):
            for folder in self._bundles.glob(".*"):
                shutil.rmtree(folder, ignore_errors=True)
            for part in self._incoming.root.glob("??/.*"):
                part.unlink(missing_ok=True)

    def clean(self, keep: Collection[BundleId]) -> None:
        """Delete bundles that are not in ``keep``, and fetched files that waited for one of them."""
        with disk_errors("bundles"):
            for folder in self._bundles.iterdir():
                if folder.name not in keep:
                    shutil.rmtree(folder, ignore_errors=True)
            for sha256 in list(self._incoming):
                self._incoming.path(sha256).unlink(missing_ok=True)

    def _fetch_files(self, manifest: BundleManifest) -> None:
        missing = {entry.sha256: entry for entry in manifest.files if entry.sha256 not in self._incoming}
        here, older = self._files_on_disk()
        wanted = sum(entry.size for entry in missing.values())
        if free_bytes(self._bundles) < wanted + self._min_free_bytes:
            raise StationFault(
                f"update: needs {wanted >> 20} MiB and {self._min_free_bytes >> 20} MiB to spare, "
                f"{free_bytes(self._bundles) >> 20} MiB are free; free some space"
            )
        for sha256, entry in beating(missing.items()):
            if sha256 not in here or not self._copy(here[sha256], sha256):
                self._download(entry, older.get(entry.path, {}))

    def _files_on_disk(self) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
        """Return where each file lies by its hash, and the same for what each path has held, the newest first."""
        found: dict[str, Path] = {}
        older: dict[str, dict[str, Path]] = {}
        manifests = []
        for path in self._bundles.glob(f"[!.]*/{MANIFEST_FILE}"):
            try:
                manifests.append((read_manifest(path.read_bytes()), path.parent))
            except (OSError, TouchstoneError):
                continue
        for manifest, folder in sorted(manifests, key=lambda one: one[0].created_at, reverse=True):
            for entry in manifest.files:
                found.setdefault(entry.sha256, folder / entry.path)
                if _is_patched(entry.size):
                    older.setdefault(entry.path, {}).setdefault(entry.sha256, folder / entry.path)
        return found, older

    def _copy(self, source: Path, sha256: str) -> bool:
        # A copy, not a link: a fault in one bundle's bytes must not reach the other.
        try:
            data = source.read_bytes()
        except OSError:
            return False
        return sha256_hex(data) == sha256 and self._incoming.put(data) == sha256

    def _download(self, entry: FileEntry, older: Mapping[str, Path]) -> None:
        if not (_is_patched(entry.size) and self._download_patch(entry, older)):
            self._store(entry, self._chunks(f"/v1/files/{entry.sha256}", entry.size, exactly=True))
        self.received_files += 1

    def _download_patch(self, entry: FileEntry, older: Mapping[str, Path]) -> bool:
        """Fetch a file as a patch of an older one, or compressed where there is none; tell whether that worked."""
        for old_sha256, path in older.items() or ((NOTHING, None),):
            try:
                old = path.read_bytes() if path is not None else b""
                if sha256_hex(old) != old_sha256 or old_sha256 == entry.sha256:
                    continue
                patch = self._chunks(patch_path(old_sha256, entry.sha256), entry.size, exactly=False)
                self._store(entry, patched(old, patch, entry.size))
            except RefusedForGood:  # there is none
                continue
            except (OSError, TryLater) as error:
                note("patch_unused", file=entry.path, why=str(error))
                continue
            return True
        return False

    def _store(self, entry: FileEntry, pieces: Iterator[bytes]) -> None:
        place = self._incoming.path(entry.sha256)
        make_folder(place.parent)
        temp = place.with_name(f".{secrets.token_hex(4)}.part")
        try:
            with temp.open("xb") as file:
                digest = hashlib.sha256()
                for piece in pieces:
                    file.write(piece)
                    digest.update(piece)
                if digest.hexdigest() != entry.sha256:
                    raise TryLater(f"update: file {entry.path}: the server sent other bytes than were signed")
                file.flush()
                os.fsync(file.fileno())
            temp.replace(place)
        finally:
            temp.unlink(missing_ok=True)
        sync_folder(place.parent)

    def _bounded(self, path: str, sha256: str, size: int) -> bytes:
        data = b"".join(self._chunks(path, size, exactly=True))
        if sha256_hex(data) != sha256:
            raise TryLater("update: the server sent another manifest than was signed; it is not taken")
        return data

    def _chunks(self, path: str, size: int, *, exactly: bool) -> Iterator[bytes]:
        started_s, received = time.monotonic(), 0
        with self._link.stream("GET", path) as chunks:
            for chunk in chunks:
                received += len(chunk)
                self.received_bytes += len(chunk)
                elapsed_s = time.monotonic() - started_s
                if received > size:
                    raise TryLater(f"update: {path}: the server sent more than the {size} bytes that were signed")
                if elapsed_s > _PATIENCE_S and received < elapsed_s * _SLOWEST_BYTES_PER_S:
                    raise TryLater(f"update: {path}: {received} bytes in {elapsed_s:.0f} s is too slow; will ask again")
                yield chunk
        if exactly and received != size:
            raise TryLater(f"update: {path}: expected {size} bytes from the server, got {received}")

    def _assemble(self, place: Path, raw: bytes, manifest: BundleManifest, release: SignedRelease) -> None:
        temp = self._bundles / f"{_NEW}{release.bundle_id}"
        shutil.rmtree(temp, ignore_errors=True)
        for entry in beating(manifest.files):
            make_folder((temp / entry.path).parent)
            write_durably(temp / entry.path, self._fetched(entry))
        make_folder(temp)
        write_durably(temp / MANIFEST_FILE, raw)
        keep_admission(temp, release.info.release, release.metadata)
        if not _is_whole(temp, release.bundle_id):
            raise TryLater("update: what was written to this disk reads back otherwise; will try again")
        if place.exists():  # its bytes have changed, or it would not be fetched again
            place.rename(self._bundles / f"{_BROKEN}{secrets.token_hex(4)}")
        temp.rename(place)
        sync_folder(self._bundles)

    def _fetched(self, entry: FileEntry) -> bytes:
        try:
            data = self._incoming.read(entry.sha256)
        except Untrusted as error:  # a fault of this disk, which says nothing of what was signed
            self._incoming.path(entry.sha256).unlink(missing_ok=True)
            raise TryLater(
                f"update: file {entry.path}: its bytes have changed on this disk; will fetch it again"
            ) from error
        if len(data) != entry.size:
            raise Untrusted(f"{MANIFEST_FILE}: file {entry.path} has {len(data)} bytes, not {entry.size} as was signed")
        return data


def _is_patched(size: int) -> bool:
    return MIN_PATCHED_BYTES <= size <= MAX_PATCHED_BYTES


def _is_whole(folder: Path, bundle_id: BundleId) -> bool:
    try:
        return open_bundle(folder).bundle_id == bundle_id
    except TouchstoneError:
        return False
