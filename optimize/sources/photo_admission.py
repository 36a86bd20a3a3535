"""A classifier of photos: wrapped, its batch freed, its logits found, and compared with its source on real photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx

from optimize.sources.agreement import Agreement, activate, compare
from optimize.sources.batch import batch_of, free_batch
from optimize.sources.counterfeit_logit import counterfeit_index, logit_of, one_logit
from optimize.sources.imported import PHOTO, Imported, Kind, Parity, SourceOptions
from optimize.sources.loaded import IMAGENET, Loaded, Normalisation
from optimize.sources.modernise import Modern, candidates
from optimize.sources.onnx_checks import is_quantised
from optimize.sources.photo_input import Ending, PhotoInput, ending_of, wrap
from optimize.sources.run_onnx import VERSION, Session, open_session
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.errors import Unsupported
from runtime.preprocess import prepare

_Number = TypeVar("_Number", bound=np.generic)

MIN_PX, MAX_PX = 16, 4096
"""What a bundle's manifest takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedBatch:
    """The network is right for one photo and wrong for two: ``why`` it cannot be batched."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One way to wrap a network, and what was cut from its end."""

    network: onnx.ModelProto
    ending: Ending | None
    notes: tuple[str, ...]


def normalisation_of(
    loaded: Loaded, options: SourceOptions, photo: PhotoInput
) -> tuple[Normalisation | None, tuple[str, ...]]:
    """Return how pixels become the network's input, and what was assumed about it.

    Raises:
        Unsupported: the user's mean or std is no triple of numbers, or std is not above 0.
    """
    if photo.takes_uint8:
        if options.mean or options.std:
            raise Unsupported(f"{loaded.name}: it takes uint8 and normalises itself; leave --mean and --std out")
        return None, ()
    own = loaded.normalisation or IMAGENET
    notes = [] if loaded.normalisation else ["mean and std are ImageNet's, assumed: the source says nothing of them"]
    if options.mean is None and options.std is None:
        return own, tuple(notes)
    mean, std = options.mean or own.mean, options.std or own.std
    if len(mean) != 3 or len(std) != 3 or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        raise Unsupported(
            f"{loaded.name}: --mean and --std: expected three numbers each, std above 0, got {mean}, {std}"
        )
    given = Normalisation(mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]), bgr=own.bgr)
    return given, () if options.mean and options.std else tuple(notes)


def admit_photos(
    loaded: Loaded, tidied: Modern, photo: PhotoInput, options: SourceOptions, paths: Sequence[Path]
) -> Imported | FixedBatch:
    """Wrap a classifier, and compare it with its source.

    Args:
        loaded: the source.
        tidied: its network.
        photo: its input.
        options: what the user says of it.
        paths: at least one photo.

    Raises:
        Unsupported: it does not agree with its source, or a photo does not decode.
    """
    if not MIN_PX <= photo.px <= MAX_PX:
        raise Unsupported(f"{loaded.name}: photos of {photo.px} px, expected {MIN_PX} to {MAX_PX}")
    normalisation, assumed = normalisation_of(loaded, options, photo)
    pixels = prepare([path.read_bytes() for path in paths], photo.px, [str(path) for path in paths])
    batch = batch_of(tidied.network)
    theirs = [loaded.reference(photo.feed(one, normalisation, batch))[0][:1] for one in pixels]
    refuse_one_class(tidied.network, [theirs[0]], loaded.name)
    expected = np.concatenate([one.reshape(1, -1) for one in theirs]).astype(np.float64)
    if not np.isfinite(expected).all():
        raise Unsupported(f"{loaded.name}: it gives NaN or infinity on {paths[0].name} and others; check --mean, --std")
    columns = expected.shape[1]
    chosen = _first_that_agrees(loaded, tidied, photo, normalisation, pixels, expected)
    if isinstance(chosen, FixedBatch):
        return chosen
    attempt, session, agreement = chosen
    notes = (*loaded.notes, *assumed, *attempt.notes)
    if attempt.ending is None and columns > 1 and _looks_like_probabilities(expected):
        notes = (*notes, "its outputs look like probabilities; no Softmax was found to take off, so they stay")
    kind, network, said = _reduce(attempt.network, session, options, loaded, columns, pixels)
    return Imported(
        kind=kind,
        network=network,
        tensors=(TensorSpec(name=PHOTO, dtype="uint8", shape=(None, photo.px, photo.px, 3)),),
        px=photo.px,
        classes=loaded.classes,
        already_quantised=is_quantised(network),
        notes=(*notes, *said),
        parity=Parity(
            inputs=len(pixels),
            of=f"photos, against {loaded.of}" + (f", after {attempt.ending}" if attempt.ending else ""),
            max_abs_error=agreement.max_abs_error,
            cosine=agreement.cosine,
        ),
        provenance={**loaded.provenance, "onnxruntime": VERSION, "onnx": onnx.__version__},
    )


def refuse_one_class(model: onnx.ModelProto, outputs: Sequence[npt.NDArray[np.generic]], name: str) -> None:
    """Refuse a Softmax over one class.

    Args:
        model: the network.
        outputs: what it gives for one feed, in order.
        name: what messages call it.

    Raises:
        Unsupported: an output is one.
    """
    for value, output in zip(model.graph.output, outputs, strict=True):
        ending = ending_of(model.graph, value.name)
        if ending and ending[0] != "Sigmoid" and output.ndim >= 2 and output.size == output.shape[0]:
            raise Unsupported(
                f"{name}: output {value.name!r} is a {ending[0]} over one class, which is the same for every input; "
                "train it with a Sigmoid or with two classes"
            )


def _attempts(
    tidied: Modern, photo: PhotoInput, normalisation: Normalisation | None, columns: int
) -> Iterator[_Attempt]:
    fixed = batch_of(tidied.network)
    for way in candidates(tidied):
        freed = free_batch(way.network)
        notes = way.notes if fixed is None else (*way.notes, f"its batch was fixed to {fixed}; it is free now")
        ending = ending_of(way.network.graph, way.network.graph.output[0].name)
        if ending is not None:
            taken = (*notes, f"the last {ending[0]} was taken off: the network gives logits")
            yield _Attempt(network=wrap(freed, photo, normalisation, columns, cut=True), ending=ending[0], notes=taken)
        yield _Attempt(network=wrap(freed, photo, normalisation, columns, cut=False), ending=None, notes=notes)


def _first_that_agrees(
    loaded: Loaded,
    tidied: Modern,
    photo: PhotoInput,
    normalisation: Normalisation | None,
    pixels: npt.NDArray[np.uint8],
    expected: npt.NDArray[np.float64],
) -> tuple[_Attempt, Session, Agreement] | FixedBatch:
    right_alone, why = False, "it does not run"
    two, expected_two = _at_least_two(pixels), _at_least_two(expected)
    for attempt in _attempts(tidied, photo, normalisation, expected.shape[1]):
        try:
            session = open_session(attempt.network.SerializeToString(), loaded.name)
        except Unsupported as error:
            why = str(error)
            continue
        together = _agreement(session, attempt.ending, two, expected_two, 8)
        if together.problem is None:
            return attempt, session, together
        why = together.problem
        right_alone |= _agreement(session, attempt.ending, pixels, expected, 1).problem is None
    if right_alone:
        return FixedBatch(why=f"its batch is fixed to {batch_of(tidied.network) or 1}, and freeing it breaks it: {why}")
    raise Unsupported(f"{loaded.name}: its ONNX does not agree with {loaded.of}: {why}; export it again")


def _agreement(
    session: Session,
    ending: Ending | None,
    pixels: npt.NDArray[np.uint8],
    expected: npt.NDArray[np.float64],
    batch: int,
) -> Agreement:
    try:
        runs = [session.run({PHOTO: pixels[start : start + batch]})[0] for start in range(0, len(pixels), batch)]
    except Unsupported as error:
        return Agreement(max_abs_error=np.inf, cosine=0.0, problem=str(error))
    return compare([[activate(np.concatenate(runs), ending)]], [[expected]])


def _at_least_two(rows: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    return rows if len(rows) > 1 else np.concatenate([rows, rows])


def _looks_like_probabilities(outputs: npt.NDArray[np.float64]) -> bool:
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _reduce(
    network: onnx.ModelProto,
    session: Session,
    options: SourceOptions,
    loaded: Loaded,
    columns: int,
    pixels: npt.NDArray[np.uint8],
) -> tuple[Kind, onnx.ModelProto, tuple[str, ...]]:
    """Return the kind, the network (one logit for an authenticator), and what to say of it."""
    if columns > 2:
        ignored = options.counterfeit_class is not None
        return "photos", network, ("the counterfeit class was not used: it has more than two",) if ignored else ()
    counterfeit = counterfeit_index(options.counterfeit_class, loaded.classes, columns, loaded.name)
    if counterfeit is None:
        return "photos", network, ("nobody says which of its two classes means counterfeit: give --counterfeit-class",)
    reduced = one_logit(network, columns, counterfeit)
    chunk = pixels[:8]
    wanted = logit_of(np.asarray(session.run({PHOTO: chunk})[0], np.float32), counterfeit)
    got = open_session(reduced.SerializeToString(), loaded.name).run({PHOTO: chunk})
    problem = compare([got], [[wanted]]).problem
    if problem:
        raise Unsupported(f"{loaded.name}: its one logit does not follow from its classes: {problem}")
    shown = f" ({loaded.classes[counterfeit]})" if counterfeit < len(loaded.classes) else ""
    if columns == 2:
        return "authenticator", reduced, (f"counterfeit is class {counterfeit}{shown}: its logit less the other's",)
    turned = (
        "its one logit is that of counterfeit" if counterfeit == 1 else "its one logit was turned: 0 is counterfeit"
    )
    return "authenticator", reduced, (turned,)
