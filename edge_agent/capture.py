"""The watch folder: finished item folders in ``inbox/``, with photos named by view. Deletes only what is recorded.

A producer fills a folder under a name that starts with a dot or ends in ``.part``, and renames it into place; in a
``.part`` folder, photos are taken as they come (see ``edge_agent.coming``). Photos are ``<view>.jpg``, further ones of
the same view ``<view>~2.jpg``; ``item.json`` may give the item's id and listing. A folder that is done is first renamed
away, then deleted, so that a crash never leaves half an item.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.disk import disk_errors
from edge_agent.home import Home
from edge_agent.station import MAX_PHOTOS, ScanRequest
from runtime.contracts.bundle import ANY_VIEW
from runtime.contracts.codec import decode, parse_json
from runtime.contracts.durable import sync_folder, write_durably
from runtime.contracts.errors import TouchstoneError, Unsupported, Untrusted
from runtime.contracts.records import MAX_PHOTO_BYTES

ITEM_FILE = "item.json"
REASON_FILE = "reason.txt"
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
COMING = ".part"
UNNAMED_VIEW = "photo"
"""What a view is called that nobody named; the one view of a model that looks at any, too."""
_DONE = ".done-"
_NUMBERED = re.compile(r"(?P<view>.+?)(?:~(?P<number>[1-9][0-9]?))?")
_MAX_ITEM_FILE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFile:
    """What ``item.json`` may say."""

    item_id: str | None = None
    listing: Mapping[str, float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFolder:
    """What lies in an item's folder: its photos as (view, number within the view, file), by view and number."""

    item_id: str
    listing: Mapping[str, float | None] | None
    photos: tuple[tuple[str, int, Path], ...]


def waiting_items(home: Home) -> list[Path]:
    """Return the finished entries of the inbox, the one that has waited longest first."""
    return _entries(home, lambda name: not name.endswith(COMING))


def coming_items(home: Home) -> list[Path]:
    """Return the folders of the inbox that are still being filled, the one that was changed last at the end."""
    return [entry for entry in _entries(home, lambda name: name.endswith(COMING)) if entry.is_dir()]


def _entries(home: Home, wanted: Callable[[str], bool]) -> list[Path]:
    found = []
    for entry in home.inbox.iterdir():
        if entry.name.startswith(".") or not wanted(entry.name):
            continue
        try:
            found.append((entry.lstat().st_mtime_ns, entry))
        except FileNotFoundError:
            continue
    return [entry for _, entry in sorted(found)]


def read_item(folder: Path) -> ScanRequest:
    """Read one finished item folder with its photos; see ``open_item`` for what is raised."""
    item = open_item(folder)
    photos: dict[str, tuple[bytes, ...]] = {}
    for view, _, path in item.photos:
        photos[view] = (*photos.get(view, ()), read_photo_file(path))
    return ScanRequest(item_id=item.item_id, photos=photos, listing=item.listing)


def open_item(folder: Path) -> ItemFolder:
    """Read what one item folder holds, but for the photos themselves.

    Raises:
        Unsupported: it is no folder of photos, or cannot be read; it should be rejected.
        FileNotFoundError: somebody took it away.
    """
    if folder.is_symlink() or not folder.is_dir():
        folder.lstat()
        raise Unsupported(f"{folder.name}: expected a folder with the photos of one item, got a file; make a folder")
    with _readable(folder):
        return _open_folder(folder)


def read_photo_file(path: Path) -> bytes:
    """Read one photo of an item folder.

    Raises:
        Unsupported: it is too large, or cannot be read.
        FileNotFoundError: somebody took the folder away.
    """
    with _readable(path.parent):
        return _bounded(path, MAX_PHOTO_BYTES)


def remove(folder: Path) -> None:
    """Take an item folder out of the inbox; its record must be on disk.

    Raises:
        StationFault: the disk refuses.
    """
    with disk_errors(f"inbox: {folder.name}"):
        done = folder.with_name(_DONE + secrets.token_hex(8))
        folder.rename(done)
        sync_folder(folder.parent)
        shutil.rmtree(done)


def reject(home: Home, folder: Path, why: TouchstoneError | str) -> Path:
    """Move an item folder to ``rejected/``, with the reason beside its photos; return where it lies now.

    Raises:
        StationFault: the disk refuses.
    """
    with disk_errors(f"rejected: {folder.name}"):
        place = home.rejected / folder.name
        number = 1
        while place.exists() or place.is_symlink():
            number += 1
            place = home.rejected / f"{folder.name}-{number}"
        folder.rename(place)
        sync_folder(home.rejected)
        sync_folder(home.inbox)
        is_folder = place.is_dir() and not place.is_symlink()
        reason = place / REASON_FILE if is_folder else place.with_name(f"{place.name}.{REASON_FILE}")
        # A name need not be valid UTF-8, and the reason may quote it.
        write_durably(reason, f"{why}\n".encode(errors="backslashreplace"))
    return place


def sweep(home: Home) -> None:
    """Finish removals that a crash cut short."""
    for entry in home.inbox.glob(f"{_DONE}*"):
        shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except Untrusted as error:
        raise Unsupported(str(error)) from error
    except OSError as error:
        folder.lstat()
        raise Unsupported(f"{folder.name}: cannot be read ({error.strerror})") from error


def _open_folder(folder: Path) -> ItemFolder:
    item, photos = ItemFile(), []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_symlink() or not path.is_file():
            raise Unsupported(f"{folder.name}/{path.name}: expected a plain file; take it out")
        if path.name == ITEM_FILE:
            what = f"{folder.name}/{ITEM_FILE}"
            item = decode(ItemFile, parse_json(_bounded(path, _MAX_ITEM_FILE_BYTES), what), what)
            continue
        if path.suffix.lower() not in PHOTO_SUFFIXES:
            raise Unsupported(
                f"{folder.name}/{path.name}: expected {ITEM_FILE} or a photo ({', '.join(sorted(PHOTO_SUFFIXES))}); "
                "take it out"
            )
        photos.append((*view_of(path), path))
    if not 1 <= len(photos) <= MAX_PHOTOS:
        raise Unsupported(f"{folder.name}: expected 1 to {MAX_PHOTOS} photos in the folder")
    item_id = folder.name if item.item_id is None else item.item_id
    return ItemFolder(item_id=item_id, listing=item.listing, photos=tuple(sorted(photos)))


def view_of(path: Path) -> tuple[str, int]:
    """Return a photo's view and its number within it, by its file name."""
    return view_and_number(path.stem)


def view_of_stem(stem: str, views: Sequence[str]) -> str:
    """Return the view of a photo file by its name without suffix; a model that looks at any view takes any name."""
    fits = stem in views or (ANY_VIEW in views and not stem.startswith("."))
    return stem if fits else UNNAMED_VIEW


def view_and_number(name: str) -> tuple[str, int]:
    """Return what ``logo`` or ``logo~2`` names: a view, and a photo's number within it."""
    match = _NUMBERED.fullmatch(name)
    return (match["view"], int(match["number"] or 1)) if match else (name, 1)


def _bounded(path: Path, most: int) -> bytes:
    size = path.stat().st_size
    if size > most:
        raise Unsupported(f"{path.parent.name}/{path.name}: expected at most {most} bytes, got {size}")
    return path.read_bytes()
