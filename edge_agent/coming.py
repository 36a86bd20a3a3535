"""Items whose folders are still being filled: their photos are taken as they come, so that little is left at the end.

Only saves time, never decides what an item is: when the folder gets its name, every file that was taken must still be
the same; else the item is read anew, as if it had never been seen. A photo that is not whole yet is looked at later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.capture import PHOTO_SUFFIXES, coming_items, open_item, read_photo_file, view_of
from edge_agent.home import Home
from edge_agent.station import MAX_PHOTOS, Model, Scanned, Session, Station
from runtime.contracts.errors import Unsupported
from runtime.photo import read_photo

_MOST = 2
"""Items at a time: their photos are held in memory."""

_Signature = tuple[int, int, int]


@dataclass(slots=True)
class _Item:
    session: Session
    taken: dict[str, _Signature] = field(default_factory=dict)
    not_whole: dict[str, _Signature] = field(default_factory=dict)


class Coming:
    """The items before the camera. For the one loop that watches the inbox."""

    def __init__(self, home: Home, station: Station, model: Callable[[], Model]) -> None:
        self._home = home
        self._station = station
        self._model = model
        self._items: dict[tuple[int, int], _Item] = {}

    def look(self) -> bool:
        """Take the photos that have come; return whether any folder is being filled."""
        folders = {identity: folder for folder in coming_items(self._home)[-_MOST:] if (identity := _identity(folder))}
        for identity in self._items.keys() - folders.keys():
            self._items.pop(identity).session.cancel()
        for identity, folder in folders.items():
            if identity not in self._items:
                self._items[identity] = _Item(session=self._station.begin(self._model))
            self._take(self._items[identity], folder)
        return bool(folders)

    def finish(self, folder: Path) -> Scanned | None:
        """Decide about a finished folder that was watched as it came; ``None`` where it must be read as a whole.

        Raises:
            Unsupported: a photo or a name cannot be used; nothing was recorded.
            StationFault: a person must act; nothing was recorded.
        """
        identity = _identity(folder)
        item = self._items.pop(identity, None) if identity else None
        if item is None:
            return None
        try:
            found = open_item(folder)
            signatures = {path.name: _signature(path) for _, _, path in found.photos}
            unchanged = all(signatures.get(name) == signature for name, signature in item.taken.items())
            if not unchanged or item.session.model.ref != self._model().ref:
                item.session.cancel()
                return None
            for view, number, path in found.photos:
                if path.name not in item.taken:
                    item.session.add(view, read_photo_file(path), number)
        except BaseException:
            item.session.cancel()
            raise
        return item.session.finish(found.item_id, found.listing)

    def _take(self, item: _Item, folder: Path) -> None:
        for path in sorted(folder.glob("*")):
            if len(item.taken) == MAX_PHOTOS or path.suffix.lower() not in PHOTO_SUFFIXES or path.name in item.taken:
                continue
            try:
                signature = _signature(path)
            except FileNotFoundError:  # taken away since it was listed
                continue
            if item.not_whole.get(path.name) == signature or path.is_symlink() or not path.is_file():
                continue
            try:
                photo = read_photo_file(path)
                read_photo(photo, path.name)
            except (FileNotFoundError, Unsupported):
                item.not_whole[path.name] = signature
                continue
            view, number = view_of(path)
            item.taken[path.name] = signature
            item.session.add(view, photo, number)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what stays the same when a folder is renamed; ``None`` where it has gone."""
    try:
        state = folder.lstat()
    except FileNotFoundError:
        return None
    return state.st_dev, state.st_ino


def _signature(path: Path) -> _Signature:
    state = os.lstat(path)
    return state.st_ino, state.st_size, state.st_mtime_ns
