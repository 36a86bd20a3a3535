"""Imports as steps of the cache: the same source need not be converted and compared again.

A source is read in a process of its own: what it loads (PyTorch, a stranger's code) goes when it is read, and if it
crashes, it takes nobody along. A factory or an MLflow URI names code, so it is called every time, and what it gives is
looked at; what cannot be told from its looks is imported every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

import onnx

from optimize.compiling import tool_versions
from optimize.executor import Processes
from optimize.onnx_bytes import onnx_digest, save_onnx
from optimize.sources.content import content_of
from optimize.sources.imported import Imported, Kind, Parity, SourceOptions
from optimize.sources.onnx_file import external_files, parse_onnx
from optimize.sources.source import import_object, import_source, object_of
from optimize.step_cache import StepCache
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.codec import canonical_json, decode, encode, parse_json
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported

_STEP, _NETWORK, _FACTS = "import", "network.onnx", "imported.json"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What ``import_once`` was asked for; ``key`` is the step's, but for what a factory gives."""

    source: str
    options: SourceOptions
    photos: tuple[Path, ...]
    samples: Path | None
    cache: Path
    key: Mapping[str, object]


def import_once(
    source: str, options: SourceOptions, photos: Sequence[Path], samples: Path | None, cache: StepCache
) -> Imported:
    """Import a source, or find it in the cache; see ``import_source``."""
    path = Path(source)
    key = {
        "source": source if not path.exists() else path.name,
        "content": _content(path) if path.exists() else None,
        "options": encode(options),
        "photos": [sha256_hex(photo.read_bytes()) for photo in photos],
        "samples": _content(samples) if samples else None,
        "tools": dict(tool_versions()),
    }
    folder = cache.find(_STEP, key)
    if folder is None:
        order = _Order(
            source=source, options=options, photos=tuple(photos), samples=samples, cache=cache.folder, key=key
        )
        with closing(Processes(1)) as process:
            (folder,) = process.run(_import, [order])
    if folder is None:
        raise Unsupported(
            f"source {source!r}: reading it crashed the process that did; try it in a program of your own"
        )
    facts = decode(_Facts, parse_json((folder / _FACTS).read_bytes(), _FACTS), _FACTS)
    kept = {field.name: getattr(facts, field.name) for field in fields(_Facts)}
    return Imported(network=onnx.load(folder / _NETWORK), **kept)


def _import(order: _Order) -> Path:
    cache = StepCache(order.cache)
    made = object_of(order.source)

    def read() -> Imported:
        if made is None:
            return import_source(order.source, order.options, order.photos, order.samples)
        return import_object(*made, order.options, order.photos, order.samples)

    if made is None:
        return cache.step(_STEP, order.key, lambda draft: _write(read(), draft))
    content = content_of(made[0])
    if content is not None:
        return cache.step(_STEP, {**order.key, "content": content}, lambda draft: _write(read(), draft))
    found = read()
    key = {"network": onnx_digest(found.network), "facts": encode(_facts(found))}
    return cache.step(_STEP, key, lambda draft: _write(found, draft))


def _facts(found: Imported) -> _Facts:
    return _Facts(**{field.name: getattr(found, field.name) for field in fields(_Facts)})


def _write(found: Imported, draft: Path) -> None:
    save_onnx(found.network, draft / _NETWORK)
    (draft / _FACTS).write_bytes(canonical_json(_facts(found)))


def _content(path: Path) -> str:
    """Return the SHA-256 over the bytes of a file with its external data, or of a folder's files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.suffix == ".onnx":
        files = [path, *external_files(parse_onnx(path.read_bytes(), str(path)), path)]
    else:
        files = [path]
    return sha256_hex("\n".join(f"{file.name} {sha256_hex(file.read_bytes())}" for file in files).encode())
