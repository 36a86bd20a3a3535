"""An ONNX file from anyone, with external data or without, brought into memory whole.

Never changes it: what it takes to compile it is in ``modernise``; its reference is the file itself, in ONNX Runtime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

from optimize.samples import Feed
from optimize.sources.graphs import all_tensors
from optimize.sources.loaded import Loaded
from optimize.sources.onnx_checks import MAX_BYTES
from optimize.sources.run_onnx import VERSION, Session, one_line, open_session
from runtime.contracts.errors import Unsupported

LATEST_IR = 10
"""The IR version of opset 21; the last that every engine here reads."""


def load_onnx_file(path: Path) -> Loaded:
    """Read an ONNX file.

    Raises:
        Unsupported: it is not ONNX, its external data is missing, or it is larger than 2 GB.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unsupported(f"{path}: cannot be read ({error.strerror}); give an ONNX file") from error
    model = parse_onnx(data, str(path))
    digest = hashlib.sha256(data)
    for file in external_files(model, path):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    _read_external(model, path)
    provenance = {"source": path.name, "source_sha256": digest.hexdigest(), "source_kind": "onnx file"}
    return Loaded(
        name=str(path),
        network=model,
        reference=_OnFirstUse(path, model, str(path)).run,
        of=f"the file itself in ONNX Runtime {VERSION}",
        provenance=provenance,
    )


def load_onnx_proto(model: onnx.ModelProto, name: str, provenance: Mapping[str, str]) -> Loaded:
    """Take a network that is in memory already.

    Raises:
        Unsupported: it still has external data, or is larger than 2 GB.
    """
    if any(uses_external_data(tensor) for _, tensor in all_tensors(model)):
        raise Unsupported(f"{name}: its weights lie in external files; give the .onnx file itself, beside them")
    _check_size(model, name)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    return Loaded(
        name=name,
        network=model,
        reference=_OnFirstUse(None, model, name).run,
        of=f"the network itself in ONNX Runtime {VERSION}",
        provenance={"source_sha256": digest, **provenance},
    )


def parse_onnx(data: bytes, name: str) -> onnx.ModelProto:
    """Parse an ONNX file without its external data.

    Raises:
        Unsupported: it is not ONNX.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's errors share no other base
        raise Unsupported(f"{name}: not an ONNX file ({one_line(error)}); give a file that onnx.save wrote") from error
    if not model.graph.node or not model.ir_version:
        raise Unsupported(f"{name}: not an ONNX file (it holds no graph); give a file that onnx.save wrote")
    return model


def external_files(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Return the files beside an ONNX file that hold its weights.

    Raises:
        Unsupported: one is missing, too short, or outside the folder.
    """
    files = {}
    for name, tensor in _external_tensors(model):
        info = ExternalDataInfo(tensor)
        file = path.parent / info.location
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise Unsupported(
                f"{path}: external data {info.location!r} lies outside its folder; put it beside the file"
            )
        if not file.is_file():
            raise Unsupported(f"{path}: external data {info.location!r} is missing; put it into {path.parent}")
        end = (info.offset or 0) + (info.length or 0)
        if file.stat().st_size < end:
            raise Unsupported(
                f"{path}: external data {info.location!r} has {file.stat().st_size} bytes, weight {name!r} ends at "
                f"{end}; copy it again"
            )
        files[info.location] = file
    return [files[location] for location in sorted(files)]


def _external_tensors(model: onnx.ModelProto) -> Sequence[tuple[str, TensorProto]]:
    return [(name, tensor) for name, tensor in all_tensors(model) if uses_external_data(tensor)]


def _read_external(model: onnx.ModelProto, path: Path) -> None:
    files = {ExternalDataInfo(tensor).location for _, tensor in _external_tensors(model)}
    size = sum((path.parent / location).stat().st_size for location in files)
    if size > MAX_BYTES:
        raise Unsupported(f"{path}: {size} bytes of weights, expected at most {MAX_BYTES}; export a smaller model")
    for name, tensor in _external_tensors(model):
        try:
            load_external_data_for_tensor(tensor, str(path.parent))
        except Exception as error:  # its errors share no other base
            raise Unsupported(f"{path}: weight {name!r} cannot be read: {one_line(error)}") from error
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    _check_size(model, str(path))


def _check_size(model: onnx.ModelProto, name: str) -> None:
    size = sum(len(tensor.raw_data) + 4 * len(tensor.float_data) for _, tensor in all_tensors(model))
    if size > MAX_BYTES:
        raise Unsupported(f"{name}: {size} bytes of weights, expected at most {MAX_BYTES}; export a smaller model")


class _OnFirstUse:
    """The original network, loaded when it is first asked: a network that the checks refuse is never loaded."""

    def __init__(self, path: Path | None, model: onnx.ModelProto, name: str) -> None:
        self._path, self._name = path, name
        self._data = None if path else model.SerializeToString()
        self._session: Session | None = None

    def run(self, feed: Feed) -> list[npt.NDArray[np.generic]]:
        """Run one feed."""
        if self._session is None:
            self._session = open_session(self._path or self._data or b"", self._name)
        return self._session.run(feed)
