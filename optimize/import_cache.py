"""Imports of files as steps of the cache: the same bytes need not be converted and compared again.

A factory or an MLflow URI names code, not bytes, so it is imported every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import onnx

from optimize.compiling import tool_versions
from optimize.onnx_bytes import save_onnx
from optimize.sources.imported import Imported, Kind, Parity, SourceOptions
from optimize.sources.onnx_file import external_files, parse_onnx
from optimize.sources.source import import_source
from optimize.step_cache import StepCache
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.codec import canonical_json, decode, encode, parse_json
from runtime.contracts.durable import sha256_hex

_NETWORK, _FACTS = "network.onnx", "imported.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """``Imported`` without its network."""

    kind: Kind
    tensors: tuple[TensorSpec, ...]
    px: int | None
    classes: tuple[str, ...]
    features: tuple[str, ...] | None
    already_quantised: bool
    notes: tuple[str, ...]
    parity: Parity
    provenance: Mapping[str, str]


def import_once(
    source: str, options: SourceOptions, photos: Sequence[Path], samples: Path | None, cache: StepCache
) -> Imported:
    """Import a source, or find it in the cache; see ``import_source``."""
    if not Path(source).exists():
        return import_source(source, options, photos, samples)

    def make(draft: Path) -> None:
        found = import_source(source, options, photos, samples)
        save_onnx(found.network, draft / _NETWORK)
        facts = _Facts(**{field.name: getattr(found, field.name) for field in fields(_Facts)})
        (draft / _FACTS).write_bytes(canonical_json(facts))

    key = {
        "source": _content(Path(source)),
        "name": Path(source).name,
        "options": encode(options),
        "photos": [sha256_hex(path.read_bytes()) for path in photos],
        "samples": _content(samples) if samples else None,
        "tools": dict(tool_versions()),
    }
    folder = cache.step("import", key, make)
    facts = decode(_Facts, parse_json((folder / _FACTS).read_bytes(), _FACTS), _FACTS)
    kept = {field.name: getattr(facts, field.name) for field in fields(_Facts)}
    return Imported(network=onnx.load(folder / _NETWORK), **kept)


def _content(path: Path) -> str:
    """Return the SHA-256 over the bytes of a file with its external data, or of a folder's files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.suffix == ".onnx":
        files = [path, *external_files(parse_onnx(path.read_bytes(), str(path)), path)]
    else:
        files = [path]
    return sha256_hex("\n".join(f"{file.name} {sha256_hex(file.read_bytes())}" for file in files).encode())
