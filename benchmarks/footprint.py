"""How much a station installs: the size on disk of what an extra brings, counted from the packages' own file lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

DISTRIBUTION = "touchstone-edge"

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def installed_mb(extra: str) -> tuple[float, int]:
    """Return (MB on disk, number of packages) of this distribution with one extra and all that it requires."""
    seen: dict[str, Distribution] = {}
    _collect(DISTRIBUTION, frozenset({extra}), seen)
    size = sum(_size(found) for found in seen.values())
    return size / 1e6, len(seen)


def _collect(name: str, extras: frozenset[str], seen: dict[str, Distribution]) -> None:
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        seen[key] = distribution(name)
    except PackageNotFoundError:
        return  # a requirement that its marker rules out here
    for required, wanted in _requirements(seen[key], extras):
        _collect(required, wanted, seen)


def _requirements(found: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    from packaging.requirements import Requirement

    for line in found.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield requirement.name, frozenset(requirement.extras)


def _size(found: Distribution) -> int:
    return sum(path.stat().st_size for file in found.files or () if (path := found.locate_file(file)).is_file())  # type: ignore[attr-defined]
