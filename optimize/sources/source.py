"""What a user names as the source of a model, and who reads it: one table, no guessing.

``package.module:factory`` and pickles (``.joblib``, ``.pkl``) run their author's code: name only your own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from optimize.sources.admission import admit
from optimize.sources.imported import Imported, SourceOptions
from optimize.sources.onnx_file import load_onnx_file, load_onnx_proto
from optimize.sources.run_onnx import one_line
from optimize.sources.user_samples import rows_in
from runtime.contracts.errors import TouchstoneError, Unsupported

ACCEPTED = (
    "an .onnx file; package.module:factory (torch module, exported program, ONNX or estimator); a .pt2 program; "
    "a Hugging Face folder with config.json; models:/... or runs:/... of MLflow; a table model .txt (LightGBM), "
    ".json or .ubj (XGBoost), .joblib, .pkl or .pickle (scikit-learn)"
)
_ESTIMATOR_LIBRARIES = ("sklearn", "lightgbm", "xgboost")


def import_source(text: str, options: SourceOptions, photos: Sequence[Path], samples: Path | None) -> Imported:
    """Read a source, make it ready to compile, and prove that it agrees with itself.

    Args:
        text: what the user named; see ``ACCEPTED``.
        options: what the user says of it.
        photos: real photos, for a classifier of photos.
        samples: real inputs: ``.npz`` or a folder; rows for a table; a folder of photos will do as well.

    Raises:
        Unsupported: nobody reads it, or it cannot be compiled; the message says what to do.
    """
    made = object_of(text)
    if made is not None:
        return import_object(*made, options, photos, samples)
    for names, read in _READERS:
        if names(text):
            return read(text, options, photos, samples)
    path = Path(text)
    what = "there is no such file" if path.suffix and not path.exists() else "this is none of them"
    raise Unsupported(f"source {text!r}: expected {ACCEPTED}; {what}")


def object_of(text: str) -> tuple[object, Mapping[str, str]] | None:
    """Return the model that a factory or MLflow gives, with its provenance; ``None`` where the text names a file.

    Raises:
        Unsupported: they give none; the message says why.
    """
    if text.startswith(("models:/", "runs:/")):
        from optimize.sources.mlflow_model import load_uri

        found = load_uri(text)
        return found.model, {"source": text, **found.provenance}
    if _is_factory(text):
        return made_by(text), {"source": text, "source_kind": "factory"}
    return None


def _onnx(text: str, options: SourceOptions, photos: Sequence[Path], samples: Path | None) -> Imported:
    return admit(load_onnx_file(Path(text)), options, photos, samples)


def _program(text: str, options: SourceOptions, photos: Sequence[Path], samples: Path | None) -> Imported:
    from optimize.sources.torch_module import load_program

    return admit(load_program(Path(text), options, photos, samples), options, photos, samples)


def _huggingface(text: str, options: SourceOptions, photos: Sequence[Path], samples: Path | None) -> Imported:
    try:
        from optimize.sources.huggingface import load_folder
    except ImportError as error:
        raise Unsupported(f"{text}: {error}; pip install 'optimum-onnx' 'transformers<4.58'") from error

    return admit(load_folder(Path(text), options), options, photos, samples)


def _table(text: str, options: SourceOptions, _: Sequence[Path], samples: Path | None) -> Imported:
    from optimize.sources.tabular import import_file

    return import_file(Path(text), options, _rows(text, samples))


def import_object(
    model: object,
    provenance: Mapping[str, str],
    options: SourceOptions,
    photos: Sequence[Path],
    samples: Path | None,
) -> Imported:
    """Import what ``object_of`` gave, by the library that its class comes from; see ``import_source``."""
    name = provenance["source"]
    if isinstance(model, onnx.ModelProto):
        return admit(load_onnx_proto(model, name, provenance), options, photos, samples)
    if comes_from(model, ("torch",)):
        from optimize.sources.torch_module import load_torch

        return admit(load_torch(model, name, options, photos, samples, provenance), options, photos, samples)
    if comes_from(model, _ESTIMATOR_LIBRARIES):
        from optimize.sources.tabular import import_estimator

        return import_estimator(model, options, _rows(name, samples), provenance)
    raise Unsupported(
        f"{name}: it gives a {type(model).__module__}.{type(model).__qualname__}; expected a torch module, an exported "
        "program, an onnx.ModelProto, or an estimator of scikit-learn, LightGBM or XGBoost"
    )


def comes_from(model: object, libraries: Sequence[str]) -> bool:
    """Tell whether a class that the model inherits from is of one of these packages."""
    return any(one.__module__.split(".")[0] in libraries for one in type(model).__mro__)


def made_by(text: str) -> object:
    """Call a factory, ``package.module:name``, without arguments; the current directory is importable.

    Raises:
        Unsupported: no such module or name, it is not callable, or it raises.
    """
    module_name, _, attribute = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        found: object = importlib.import_module(module_name)
    except Exception as error:  # a stranger's module raises what it likes
        raise Unsupported(f"{text}: module {module_name!r} cannot be imported: {_said(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise Unsupported(
                f"{text}: module {module_name!r} has no {attribute!r}; name a function that makes a model"
            )
        found = getattr(found, part)
    if not callable(found):
        raise Unsupported(f"{text}: a {type(found).__name__} is not callable; name a function that makes a model")
    try:
        return found()
    except TouchstoneError:
        raise
    except Exception as error:  # a stranger's factory raises what it likes
        raise Unsupported(f"{text}: it was called without arguments and raised {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def _rows(name: str, samples: Path | None) -> npt.NDArray[np.float32]:
    if samples is None:
        raise Unsupported(
            f"{name}: a table's model is compared on real rows: give --samples, an .npy or .npz of float32 "
            "(rows, columns), NaN where a value is missing"
        )
    return rows_in(samples)


def _ends(*endings: str) -> Callable[[str], bool]:
    return lambda text: Path(text).suffix.lower() in endings and ":" not in text.replace(":\\", "")


def _is_factory(text: str) -> bool:
    module, separator, attribute = text.partition(":")
    return bool(separator) and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


Reader = Callable[[str, SourceOptions, Sequence[Path], Path | None], Imported]

_READERS: Sequence[tuple[Callable[[str], bool], Reader]] = (
    (lambda text: (Path(text) / "config.json").is_file(), _huggingface),
    (_ends(".onnx"), _onnx),
    (_ends(".pt2"), _program),
    (_ends(".txt", ".json", ".ubj", ".joblib", ".pkl", ".pickle"), _table),
)
"""Who reads what, the first that knows the text."""
