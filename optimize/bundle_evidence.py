"""Reads the evidence that a bundle carries."""

from __future__ import annotations

from optimize.evidence import Evidence
from runtime.bundle_store import Bundle
from runtime.contracts.codec import decode, parse_json
from runtime.contracts.errors import Unsupported


def read_evidence(bundle: Bundle) -> Evidence:
    """Return a bundle's evidence.

    Raises:
        Unsupported: it was written by another version of this toolchain.
    """
    path = bundle.path(bundle.manifest.evidence)
    data = parse_json(path.read_bytes(), path.name)
    version = data.get("format") if isinstance(data, dict) else None
    if version != 2:
        raise Unsupported(
            f"bundle {bundle.folder}: its evidence has format {version}, this toolchain reads 2; build again"
        )
    return decode(Evidence, data, path.name)
