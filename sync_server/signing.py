"""The offline side of a release: sign a bundle with the targets key. Runs where the keys are, with no server near.

The offline folder's ``targets.json`` is the account of all that was signed. It is written before the copy in the
bundle: after a crash between the two, signing again finds the release there and only writes the copy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Targets  # type: ignore[attr-defined]

from runtime.contracts.durable import make_folder, write_durably
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.sync import ReleaseInfo
from sync_server import tuf_roles
from sync_server.bundles import SIGNED_FILE, CheckedBundle, check_bundle
from sync_server.tuf_roles import SignedRelease

_TARGET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What ``sign_bundle`` did; ``new`` is false where this bundle was the newest release already."""

    release: SignedRelease
    new: bool


def sign_bundle(folder: Path, offline: Path, *, floor: int | None, release: int | None, now: datetime) -> Signing:
    """Sign a bundle as the next release, and leave the metadata in its folder for ``publish``.

    Args:
        folder: the bundle.
        offline: folder of the offline keys.
        floor: releases below it leave the world; ``None``: as before.
        release: the counter, above all before; ``None``: the next.
        now: the clock.

    Raises:
        StationFault: the offline folder is not one.
        Unsupported: a counter does not rise, the name cannot be a target path, or the bundle decides nothing.
        Untrusted: the bundle is not as its manifest says.
    """
    bundle = check_bundle(folder)
    if not _TARGET_NAME.fullmatch(bundle.manifest.name):
        raise Unsupported(f"bundle name {bundle.manifest.name!r}: expected letters, digits, '.', '_' and '-' only")
    if bundle.manifest.judged_by != "risk":
        raise Unsupported(
            f"bundle {folder}: only the fidelity of its outputs was judged, so it decides nothing and no station runs "
            "it; build one with labelled items (--data)"
        )
    root = _offline_file(offline, "root.json")
    signed = _offline_file(offline, "targets.json")
    targets = tuf_roles.verified(Targets, signed, root, str(offline / "targets.json"))
    listed = tuf_roles.listed_releases(targets)
    newest = listed[-1] if listed else None
    if newest is not None and _is_again(newest, bundle, floor, release):
        _leave_in_bundle(folder, signed)
        return Signing(release=newest, new=False)
    added = SignedRelease(
        info=_next_info(bundle, newest, floor, release), bundle_id=bundle.bundle_id, manifest_size=len(bundle.raw)
    )
    signer = tuf_roles.signer_from_pem(_offline_file(offline, "targets.pem"), str(offline / "targets.pem"))
    kept = (*(old for old in listed if old.info.release >= added.info.floor), added)
    signed = tuf_roles.targets_bytes(kept, targets.version + 1, signer, now)
    tuf_roles.verified(Targets, signed, root, f"{offline / 'targets.pem'}: what it signed")
    write_durably(offline / "targets.json", signed)
    _leave_in_bundle(folder, signed)
    return Signing(release=added, new=True)


def _is_again(newest: SignedRelease, bundle: CheckedBundle, floor: int | None, release: int | None) -> bool:
    return (
        newest.bundle_id == bundle.bundle_id
        and floor in (None, newest.info.floor)
        and release in (None, newest.info.release)
    )


def _next_info(
    bundle: CheckedBundle, newest: SignedRelease | None, floor: int | None, release: int | None
) -> ReleaseInfo:
    last, last_floor = (newest.info.release, newest.info.floor) if newest else (0, 0)
    number = last + 1 if release is None else release
    if number <= last:
        raise Unsupported(f"release: expected a counter above {last}, the last one signed, got {number}")
    lowest = last_floor if floor is None else floor
    if not last_floor <= lowest <= number:
        raise Unsupported(
            f"floor: expected {last_floor} (the last one signed) to {number} (this release), got {lowest}; "
            "a floor never falls"
        )
    return ReleaseInfo(name=bundle.manifest.name, release=number, floor=lowest)


def _leave_in_bundle(folder: Path, signed: bytes) -> None:
    path = folder / SIGNED_FILE
    try:
        make_folder(path.parent)
        write_durably(path, signed)
    except OSError as error:
        raise StationFault(f"{path}: cannot be written ({error.strerror}); sign again when it can") from error


def _offline_file(offline: Path, name: str) -> bytes:
    try:
        return (offline / name).read_bytes()
    except OSError as error:
        raise StationFault(
            f"{offline / name}: cannot be read ({error.strerror}); --offline-keys must be the folder that 'init' filled"
        ) from error
