"""Inputs that a user brings: feeds for a network of tensors, rows for a table, photos for the rest.

Checked before anything runs, and never repaired: a cast that loses a bit, or a NaN, is refused with the array's name.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optimize.samples import Feed
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.errors import Unsupported

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
ARRAY_ENDINGS = (".npz", ".npy")

Arrays = Mapping[str, npt.NDArray[np.generic]]


def feeds_of(path: Path, tensors: Sequence[TensorSpec]) -> Iterator[Feed]:
    """Read feeds one at a time.

    A ``.npz`` names its arrays as the inputs. It is one feed, or as many as it has rows where every input's own leading
    dimension varies or is 1, or as many as its arrays' extra leading axis counts. A folder holds one feed a file,
    sorted by name. A network with one input takes ``.npy`` too.

    Args:
        path: file or folder.
        tensors: the inputs.

    Raises:
        Unsupported: a name is missing, a type, rank or shape is wrong, a value is NaN, or there is nothing.
    """
    if path.is_dir():
        files = array_files(path)
        if not files:
            raise Unsupported(f"samples {path}: no .npz in this folder; put {wanted_inputs(tensors)} there")
        for file in files:
            yield {spec.name: _fit(_named(read_arrays(file), spec, tensors, file), spec, file) for spec in tensors}
        return
    arrays = read_arrays(path)
    yield from _split({spec.name: _named(arrays, spec, tensors, path) for spec in tensors}, tensors, path)


def rows_in(path: Path) -> npt.NDArray[np.float32]:
    """Read the rows of a table, ``float32 (N, F)``, NaN where missing, from ``.npy`` or an ``.npz`` of one array.

    Raises:
        Unsupported: there is no such array.
    """
    arrays = list(read_arrays(path).values())
    if len(arrays) != 1 or arrays[0].ndim != 2 or arrays[0].dtype.kind not in "fiub":
        raise Unsupported(f"samples {path}: expected one array of numbers (rows, columns); save the table's rows so")
    return arrays[0].astype(np.float32)


def photos_in(path: Path) -> list[Path]:
    """Return the photos of a folder and those below it, sorted.

    Raises:
        Unsupported: it is no folder, or holds no photo.
    """
    if not path.is_dir():
        raise Unsupported(f"photos {path}: expected a folder, there is none; give one with {', '.join(PHOTO_ENDINGS)}")
    found = sorted(one for one in path.rglob("*") if one.suffix.lower() in PHOTO_ENDINGS and one.is_file())
    if not found:
        raise Unsupported(f"photos {path}: no photo in this folder; put {', '.join(PHOTO_ENDINGS)} files there")
    return found


def has_photos(path: Path) -> bool:
    """Tell whether samples are a folder of photos."""
    return path.is_dir() and any(one.suffix.lower() in PHOTO_ENDINGS for one in path.rglob("*"))


def wanted_inputs(tensors: Sequence[TensorSpec]) -> str:
    """Say in words which file of samples a network wants."""
    named = ", ".join(
        f"{spec.name} {spec.dtype} ({', '.join('any' if dim is None else str(dim) for dim in spec.shape)})"
        for spec in tensors
    )
    return f"an .npz file, or a folder of them, whose arrays are {named}"


def array_files(folder: Path) -> list[Path]:
    """Return the ``.npz`` and ``.npy`` files of a folder, sorted by name."""
    return sorted(one for one in folder.iterdir() if one.suffix in ARRAY_ENDINGS)


def read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read the arrays of an ``.npz``, in order; a ``.npy`` has one, without a name.

    Raises:
        Unsupported: it is neither, or holds no numbers.
    """
    if path.suffix not in ARRAY_ENDINGS:
        raise Unsupported(f"samples {path}: expected an .npz file, or a folder of them; save with numpy.savez")
    try:
        with path.open("rb") as file:  # numpy leaves its own file open when it refuses one
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise Unsupported(
            f"samples {path}: cannot be read ({reason}); save with numpy.savez, without objects"
        ) from error
    if not arrays:
        raise Unsupported(f"samples {path}: it holds no array; save the inputs with numpy.savez")
    return arrays


def _named(arrays: Arrays, spec: TensorSpec, tensors: Sequence[TensorSpec], path: Path) -> npt.NDArray[np.generic]:
    if "" in arrays and len(tensors) == 1:
        return arrays[""]
    if spec.name not in arrays:
        got = ", ".join(name or "one without a name" for name in arrays)
        raise Unsupported(
            f"samples {path}: no array named {spec.name!r}, it has {got}; expected {wanted_inputs(tensors)}"
        )
    return arrays[spec.name]


def _split(arrays: Arrays, tensors: Sequence[TensorSpec], path: Path) -> Iterator[Feed]:
    """Yield the feeds of one file."""
    ranks = {arrays[spec.name].ndim - len(spec.shape) for spec in tensors}
    leading = {arrays[spec.name].shape[0] for spec in tensors if arrays[spec.name].ndim}
    if ranks == {1}:
        if len(leading) != 1:
            raise Unsupported(f"samples {path}: its arrays have {sorted(leading)} feeds; expected as many in each")
        _require_rows(leading, path)
        for row in range(leading.pop()):
            yield {spec.name: _fit(np.asarray(arrays[spec.name][row]), spec, path) for spec in tensors}
        return
    by_row = [spec for spec in tensors if spec.shape]
    if by_row and ranks == {0} and len(leading) == 1 and all(spec.shape[0] in (None, 1) for spec in by_row):
        _require_rows(leading, path)
        for row in range(leading.pop()):
            yield {
                spec.name: _fit(arrays[spec.name][row : row + 1] if spec.shape else arrays[spec.name], spec, path)
                for spec in tensors
            }
        return
    yield {spec.name: _fit(arrays[spec.name], spec, path) for spec in tensors}


def _require_rows(leading: set[int], path: Path) -> None:
    if leading == {0}:
        raise Unsupported(f"samples {path}: its arrays have no rows; save at least one")


def _fit(array: npt.NDArray[np.generic], spec: TensorSpec, path: Path) -> npt.NDArray[np.generic]:
    """Return an array as the input wants it, or say why it cannot be that."""
    wanted = wanted_inputs([spec])
    if array.ndim != len(spec.shape) or any(
        want is not None and want != got for want, got in zip(spec.shape, array.shape, strict=True)
    ):
        raise Unsupported(f"samples {path}: array {spec.name!r} has shape {array.shape}; expected {wanted}")
    if not array.size:
        raise Unsupported(f"samples {path}: array {spec.name!r} is empty, shape {array.shape}; save at least one value")
    if array.dtype.kind not in "fiub":
        raise Unsupported(f"samples {path}: array {spec.name!r} is {array.dtype}; expected {wanted}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise Unsupported(f"samples {path}: array {spec.name!r} holds NaN; leave such samples out")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(spec.dtype)
        lossless = bool((cast.astype(array.dtype) == array).all()) and (
            cast.dtype.kind != "b" or array.dtype.kind == "b"
        )
    if not lossless:
        raise Unsupported(
            f"samples {path}: array {spec.name!r} is {array.dtype} and would lose digits as {spec.dtype}; "
            f"save it with .astype({spec.dtype!r})"
        )
    return np.ascontiguousarray(cast) if cast.ndim else cast
