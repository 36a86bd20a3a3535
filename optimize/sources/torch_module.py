"""A torch module or exported program, as ONNX by the new exporter; its reference is the module itself, run eagerly.

The only file of the sources that imports torch. Loading a ``.pt2`` file may run its author's code: open your own only.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn
from torch.utils import _pytree as pytree

from optimize.samples import Feed
from optimize.sources.imported import PHOTO, SourceOptions
from optimize.sources.loaded import IMAGENET, Layout, Loaded, Normalisation, Reference
from optimize.sources.run_onnx import one_line
from optimize.sources.user_samples import array_files, has_photos, photos_in, read_arrays
from runtime.contracts.errors import Unsupported
from runtime.preprocess import prepare

OPSET = 20
DEFAULT_PX = 224

Arrays = Mapping[str, npt.NDArray[np.generic]]


def load_torch(
    model: object,
    name: str,
    options: SourceOptions,
    photos: Sequence[Path],
    samples: Path | None,
    provenance: Mapping[str, str],
) -> Loaded:
    """Export a module or an exported program.

    Args:
        model: ``torch.nn.Module`` or ``torch.export.ExportedProgram``.
        name: what messages call it.
        options: ``px``, ``mean`` and ``std`` are read.
        photos: traced with, where there are any.
        samples: ``.npz`` whose arrays are the arguments in order, or a folder whose first file is such; without it the
            module is traced with photos: normalised ``float32 (2, 3, px, px)``, else ``uint8 (2, px, px, 3)``.
        provenance: what is known of where it came from.

    Raises:
        Unsupported: it takes neither photos nor the samples, or the exporter refuses it.
    """
    run: nn.Module
    if isinstance(model, torch.export.ExportedProgram):
        network = _export(model, None, name)
        run, layout, px = model.module(), None, None
    elif isinstance(model, nn.Module):
        run = model.to("cpu", torch.float32)
        with contextlib.suppress(NotImplementedError):  # an exported program's module was made for inference
            run.eval()
        arrays, layout, px = _example(run, name, options, photos, samples)
        network = _export(run, arrays, name)
    else:
        raise Unsupported(f"{name}: a {type(model).__name__} is no torch module; return a torch.nn.Module")
    digest = hashlib.sha256(network.SerializeToString(deterministic=True)).hexdigest()
    return Loaded(
        name=name,
        network=network,
        reference=eager(run, [value.name for value in network.graph.input]),
        of=f"the module itself in torch {torch.__version__}",
        layout=layout,
        px=px,
        provenance={"source": name, "source_sha256": digest, "torch": torch.__version__, **provenance},
    )


def load_program(path: Path, options: SourceOptions, photos: Sequence[Path], samples: Path | None) -> Loaded:
    """Load and export a ``.pt2`` file that ``torch.export.save`` wrote.

    Raises:
        Unsupported: it is none, or the exporter refuses it.
    """
    if not path.is_file():
        raise Unsupported(f"{path}: there is no such file")
    try:
        with _quiet():
            program = torch.export.load(path)
    except Exception as error:  # its errors share no other base
        raise Unsupported(
            f"{path}: expected a program that torch.export.save wrote, got something else ({one_line(error)})"
        ) from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = {"source": path.name, "source_sha256": digest, "source_kind": "torch.export program"}
    return load_torch(program, str(path), options, photos, samples, origin)


def state_of(model: object) -> bytes | None:
    """Return all that a model holds, weights and attributes, as bytes; ``None`` where it cannot be written down.

    The same model may give other bytes in another process, never another model the same ones.
    """
    if not isinstance(model, nn.Module):
        return None
    state = io.BytesIO()
    try:
        torch.save(model, state)
    except Exception:  # noqa: BLE001 - a stranger's module holds what it likes
        return None
    return state.getvalue()


def eager(module: nn.Module, names: Sequence[str]) -> Reference:
    """Return what runs a module on a feed; its inputs are the named ones, in order."""

    def run(feed: Feed) -> list[npt.NDArray[np.generic]]:
        arguments = [torch.from_numpy(np.array(feed[name])) for name in names]
        with torch.no_grad():
            return _tensors(module(*arguments))

    return run


def _tensors(outputs: object) -> list[npt.NDArray[np.generic]]:
    leaves = pytree.tree_leaves(outputs)
    return [np.asarray(leaf.detach().cpu().numpy()) for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _example(
    module: nn.Module, name: str, options: SourceOptions, photos: Sequence[Path], samples: Path | None
) -> tuple[Arrays, Layout | None, int | None]:
    """Return inputs to trace with, and what they say of photos."""
    if samples is not None and not has_photos(samples):
        return _first_feed(samples), None, None
    shown = list(photos) or (photos_in(samples) if samples is not None else [])
    px = options.px or DEFAULT_PX
    pixels = _two_photos(shown, px)
    own = Normalisation(
        mean=_triple(options.mean, IMAGENET.mean), std=_triple(options.std, IMAGENET.std)
    )  # only to trace with
    nchw = np.ascontiguousarray(own.apply(pixels).transpose(0, 3, 1, 2))
    tried: list[str] = []
    choices: list[tuple[npt.NDArray[np.generic], Layout]] = [(nchw, "nchw"), (pixels, "nhwc")]
    for array, layout in choices:
        try:
            with torch.no_grad(), _quiet():
                module(torch.from_numpy(array))
        except Exception as error:  # noqa: BLE001 - a stranger's module raises what it likes; the next input is tried
            tried.append(f"{array.dtype} {array.shape}: {one_line(error)}")
        else:
            return {PHOTO: array}, layout, px
    raise Unsupported(
        f"{name}: it takes no photos of {px} px ({'; '.join(tried)}); give --px, or --samples with its own inputs"
    )


def _first_feed(samples: Path) -> Arrays:
    files = array_files(samples) if samples.is_dir() else [samples]
    if not files:
        raise Unsupported(f"samples {samples}: no .npz in this folder; its arrays are the module's arguments in order")
    return {key or "input": array for key, array in read_arrays(files[0]).items()}


def _two_photos(paths: Sequence[Path], px: int) -> npt.NDArray[np.uint8]:
    if not paths:
        return np.random.default_rng(0).integers(0, 256, (2, px, px, 3), dtype=np.uint8)
    two = [paths[0], paths[-1]]
    return prepare([path.read_bytes() for path in two], px, [str(path) for path in two])


def _triple(given: tuple[float, ...] | None, default: tuple[float, float, float]) -> tuple[float, float, float]:
    return (given[0], given[1], given[2]) if given and len(given) == 3 else default


def _export(model: nn.Module | torch.export.ExportedProgram, arrays: Arrays | None, name: str) -> onnx.ModelProto:
    if isinstance(model, torch.export.ExportedProgram):
        sample: dict[str, Any] = {"args": ()}
    else:
        assert arrays is not None  # a module is always traced with something
        shared = {array.shape[0] for array in arrays.values() if array.ndim}
        free = len(shared) == 1 and min(shared) > 1
        shapes = tuple({0: torch.export.Dim.AUTO} if free and array.ndim else None for array in arrays.values())
        sample = {
            "args": tuple(torch.from_numpy(np.array(array)) for array in arrays.values()),
            "dynamic_shapes": shapes,
            "input_names": list(arrays),
        }
    try:
        with _quiet():
            program = torch.onnx.export(
                model, dynamo=True, external_data=False, opset_version=OPSET, verbose=False, **sample
            )
    except Exception as error:  # the exporter's errors share no other base
        raise Unsupported(f"{name}: torch.onnx.export refuses it: {one_line(error)}") from error
    if program is None:
        raise Unsupported(f"{name}: torch.onnx.export gave nothing; export it yourself and give the .onnx file")
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own progress and deprecations off the screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
