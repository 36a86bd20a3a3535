"""From a source that was read to a model that can be compiled: checks, age, kind, input and output, proof of parity.

Every change is tried in the order of preference and run against the source on the inputs given; the first that agrees
is taken. What agrees in no way is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import onnx

from optimize.sources.agreement import Agreement, compare
from optimize.sources.graphs import shape_of
from optimize.sources.imported import Imported, Parity, SourceOptions
from optimize.sources.loaded import Loaded
from optimize.sources.modernise import Modern, candidates, tidy
from optimize.sources.onnx_checks import check_network, is_quantised
from optimize.sources.photo_admission import FixedBatch, admit_photos, refuse_one_class
from optimize.sources.photo_input import PhotoInput, layout_of
from optimize.sources.run_onnx import VERSION, Session, open_session
from optimize.sources.user_samples import feeds_of, has_photos, photos_in, wanted_inputs
from runtime.contracts.bundle import TensorSpec
from runtime.contracts.errors import Unsupported

MOST_INPUTS = 16
"""How many photos or feeds are compared with the source."""


def admit(loaded: Loaded, options: SourceOptions, photos: Sequence[Path], samples: Path | None) -> Imported:
    """Make a source ready to compile, and prove that it agrees with itself.

    Args:
        loaded: the source.
        options: what the user says of it.
        photos: real photos; needed for a classifier of photos.
        samples: ``.npz`` or folder; needed for every other network.

    Raises:
        Unsupported: it cannot be compiled, does not agree with its source, or photos or samples are missing.
    """
    tidied = tidy(loaded.network, loaded.name)
    check_network(tidied.network, loaded.name)
    session = open_session(tidied.network.SerializeToString(), loaded.name)
    inputs, outputs = session.inputs(), session.outputs()
    if samples is not None and not photos and has_photos(samples):
        photos, samples = photos_in(samples), None
    found = _photo_input(tidied.network, inputs, outputs, loaded, options, samples)
    notes: tuple[str, ...] = loaded.notes
    if found is not None and not photos and samples is None:
        raise Unsupported(
            f"{loaded.name}: it takes photos (input {found.name!r}), so it needs some to be compared on: give a folder "
            f"of photos, or --samples, {wanted_inputs(inputs)}"
        )
    if found is not None and photos:
        admitted = admit_photos(loaded, tidied, found, options, photos[:MOST_INPUTS])
        if not isinstance(admitted, FixedBatch):
            return admitted
        notes = (*notes, admitted.why)
    return _admit_tensors(loaded, tidied, session, samples, notes)


def _photo_input(
    model: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    loaded: Loaded,
    options: SourceOptions,
    samples: Path | None,
) -> PhotoInput | None:
    """Return the image input of a classifier; ``None`` where the network is none."""
    if len(inputs) != 1 or len(outputs) != 1 or not outputs[0].dtype.startswith("float"):
        return None
    rank = shape_of(model.graph.output[0])
    if rank is not None and len(rank) != 2 and rank[2:] != (1, 1):
        return None
    spec = inputs[0]
    layout = layout_of(model.graph, spec) or (loaded.layout if len(spec.shape) == 4 else None)
    if layout is None:
        return None
    sides = spec.shape[2:4] if layout == "nchw" else spec.shape[1:3]
    if None not in sides and sides[0] != sides[1]:
        return None
    fixed = next((side for side in sides if side is not None), None)
    if fixed is not None and options.px not in (None, fixed):
        raise Unsupported(f"{loaded.name}: --px {options.px}: its input {spec.name!r} is {fixed} px; leave --px out")
    px = fixed or options.px or loaded.px
    if px is None:
        if samples is not None:
            return None
        raise Unsupported(f"{loaded.name}: input {spec.name!r} {spec.shape} leaves the photo's side open; give --px")
    return PhotoInput(name=spec.name, layout=layout, px=px, takes_uint8=spec.dtype == "uint8")


def _admit_tensors(
    loaded: Loaded, tidied: Modern, session: Session, samples: Path | None, notes: tuple[str, ...]
) -> Imported:
    inputs = session.inputs()
    for value in tidied.network.graph.input:
        if shape_of(value) is None:
            raise Unsupported(f"{loaded.name}: input {value.name!r} has no rank; export it with shapes")
    if samples is None:
        raise Unsupported(
            f"{loaded.name}: no classifier of photos{''.join(f' ({note})' for note in notes)}, so it is judged on your "
            f"own inputs: give --samples, {wanted_inputs(inputs)}"
        )
    feeds = list(islice(feeds_of(samples, inputs), MOST_INPUTS))
    theirs = [loaded.reference(feed) for feed in feeds]
    refuse_one_class(tidied.network, theirs[0], loaded.name)
    del session  # large networks need not be in memory twice
    last: Unsupported | None = None
    agreement: Agreement | None = None
    for way in candidates(tidied):
        try:
            ours = open_session(way.network.SerializeToString(), loaded.name)
            agreement = compare([ours.run(feed) for feed in feeds], theirs)
        except Unsupported as error:
            last = error
            continue
        if agreement.problem is None:
            return Imported(
                kind="tensors",
                network=way.network,
                tensors=inputs,
                classes=loaded.classes,
                already_quantised=is_quantised(way.network),
                notes=(*notes, *way.notes),
                parity=Parity(
                    inputs=len(feeds),
                    of=f"samples, against {loaded.of}",
                    max_abs_error=agreement.max_abs_error,
                    cosine=agreement.cosine,
                ),
                provenance={**loaded.provenance, "onnxruntime": VERSION, "onnx": onnx.__version__},
            )
    if agreement is None and last is not None:
        raise last
    problem = agreement.problem if agreement else "it does not run"
    raise Unsupported(f"{loaded.name}: its ONNX does not agree with {loaded.of}: {problem}; export it again")
