"""CPU stations on OpenVINO: float, bfloat16 where the CPU computes in it, and INT8 by NNCF.

Two INT8 slots, because without VNNI two products are summed in 16 bits and saturate. On EfficientNet-Lite0 on an AVX2
CPU the kernels alone took full-range weights from 20.1 dB of signal to noise to 8.0 dB, and half-range weights kept
their 16.8 dB. Activations are quantised per tensor: NNCF's own choice, a range per channel before depthwise
convolutions, sees too few values a channel in a small set, and lost 12 dB with 32 photos. The IR comes from OpenVINO's
converter: read directly, the ONNX keeps weights computed from shapes, and depthwise convolutions stay in float.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from optimize.kernels import NEEDED_COVERAGE, Coverage
from optimize.samples import Samples
from optimize.targets.target import VNNI, Calibration, Compiled, Inputs, Plan, Slot, lacking_isa
from runtime.backends.telemetry import keep_home
from runtime.contracts.errors import Unsupported

if TYPE_CHECKING:
    import openvino as ov

ENGINE = "openvino"
FLOAT, BF16, INT8, INT8_AVX2 = "openvino-float32", "openvino-bf16", "openvino-int8", "openvino-int8-avx2"
BF16_ISA = "avx512_bf16|amx_bf16"
CALIBRATION_ROWS = 300

SLOTS = (
    Slot(name=FLOAT, engine=ENGINE, precision="float32", baseline=None),
    Slot(name=BF16, engine=ENGINE, precision="bf16", baseline=FLOAT, isa=(BF16_ISA,)),
    Slot(
        name=INT8,
        engine=ENGINE,
        precision="int8",
        baseline=FLOAT,
        isa=(VNNI,),
        calibrations=("minmax", "percentile"),
        excludable=True,
    ),
    Slot(
        name=INT8_AVX2,
        engine=ENGINE,
        precision="int8",
        baseline=FLOAT,
        isa=("avx2",),
        calibrations=("minmax", "percentile"),
        excludable=True,
    ),
)

_COUNTED = re.compile(r"[A-Z][A-Za-z0-9]*_\d+")
_KEPT = ("touchstone", "kept_float")
_PRODUCTS = frozenset(
    {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
)
_DEPTHWISE = frozenset({"GroupConvolution", "GroupConvolutionBackpropData"})
_NEVER_NEGATIVE = frozenset({"Clamp", "Relu", "Sigmoid", "Softmax"})
_KERNELS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})


def require() -> None:
    """Need OpenVINO and NNCF.

    Raises:
        Unsupported: one is missing.
    """
    missing = [name for name in ("openvino", "nncf") if find_spec(name) is None]  # to import them takes seconds
    if missing:
        raise Unsupported(f"--target openvino: {' and '.join(missing)} not installed; pip install openvino nncf")


def unavailable(slot: Slot) -> str | None:
    """Tell whether this CPU lacks what the slot is for."""
    from runtime.backends.openvino import has_bf16

    if slot.name == BF16 and not has_bf16():
        return (
            "ISA: this CPU does not compute in bfloat16, and OpenVINO would run float32 without saying so; build on a "
            "CPU with AVX512-BF16 or AMX"
        )
    return lacking_isa(slot)


def compile(slot: Slot, plan: Plan, inputs: Inputs, folder: Path) -> Compiled:  # noqa: A001 - the port's word
    """Convert to an IR, quantised by NNCF for the INT8 slots.

    Raises:
        Unsupported: OpenVINO or NNCF refuses the network.
    """
    from runtime.backends.openvino import PRECISION

    with _translated(slot.name):
        model = _convert(inputs.network)
        kept: list[str] = []
        if slot.precision == "int8":
            kept = _operators(model, inputs.network, (*inputs.keep_float, *plan.excluded))
            model = _quantise(model, inputs.samples, plan.calibration or "minmax", kept, half=slot.name == INT8_AVX2)
        model.set_rt_info("bf16" if slot.precision == "bf16" else "f32", list(PRECISION))
        model.set_rt_info(str(len(set(kept))), list(_KEPT))
        file = folder / f"{slot.name}.xml"
        _save(model, file)
    return Compiled(file=file, companions=(file.with_suffix(".bin"),), judged_engine=ENGINE, judged_file=file)


def check(slot: Slot, compiled: Compiled, inputs: Inputs) -> list[str]:
    """Refuse what would run in another precision than it is named for, or in too few integer kernels."""
    try:
        covered = kernels(compiled.file)
    except Unsupported as error:
        return [f"fallback: {error}"]
    if slot.precision != "int8" or covered.share >= NEEDED_COVERAGE:
        return []
    meant = covered.integer + covered.floating - covered.excluded
    return [
        f"coverage: {covered.integer} of {meant} convolutions and matrix "
        f"products run in integer kernels ({covered.share:.0%}); at least {NEEDED_COVERAGE:.0%} should"
    ]


def kernels(path: Path) -> Coverage:
    """Count the kernels of an IR as OpenVINO runs it here; the IR says how many stay in float on purpose.

    Raises:
        Unsupported: OpenVINO refuses the file, or would run it in another precision.
    """
    from runtime.backends.openvino import load

    compiled = load(path, threads=0).compiled
    found = [_runtime_info(one) for one in compiled.get_runtime_model().get_ops()]
    precisions = [precision for kind, precision in found if kind in _KERNELS]
    integer = sum(precision in ("u8", "i8") for precision in precisions)
    floating = len(precisions) - integer
    return Coverage(integer=integer, floating=floating, excluded=min(_kept_float(path), floating))


def _runtime_info(operator: Any) -> tuple[str, str]:
    info = operator.get_rt_info()
    return str(info["layerType"].astype(str)), str(info["runtimePrecision"].astype(str))


def _kept_float(path: Path) -> int:
    import openvino as ov

    model = ov.Core().read_model(path)
    return int(str(model.get_rt_info(list(_KEPT)).astype(str))) if model.has_rt_info(list(_KEPT)) else 0


def _convert(network: Path) -> ov.Model:
    """Read an ONNX through OpenVINO's converter, which folds what the dynamic batch leaves in the graph."""
    keep_home()
    import openvino as ov

    model = ov.convert_model(str(network))
    _name_the_nameless(model)
    return model


def _name_the_nameless(model: ov.Model) -> None:
    """Replace names that OpenVINO counts up through the life of the process, so that bytes repeat.

    Folded constants inherit such names; what is called like one in the ONNX is renamed with them, which harms nobody.
    """
    ordered = model.get_ordered_ops()
    taken = {one.get_friendly_name() for one in ordered}
    for number, one in enumerate(ordered):
        if one.get_type_name() == "Constant" or _COUNTED.fullmatch(one.get_friendly_name()):
            name = f"{one.get_type_name()}.{number}"
            while name in taken:
                name += "_"
            taken.add(name)
            one.set_friendly_name(name)


def _operators(model: ov.Model, network: Path, nodes: Sequence[str]) -> list[str]:
    """Return OpenVINO's names of the convolutions and products that nodes of the ONNX became.

    A node's bias is an operator of its own here, and names move; but the tensor of its output keeps its name.
    """
    outputs = {node.name: node.output[0] for node in onnx.load(network, load_external_data=False).graph.node}
    producers = {
        name: one for one in model.get_ordered_ops() for output in one.outputs() for name in output.get_names()
        if one.get_type_name() != "Result"
    }  # fmt: skip
    found = []
    for node in nodes:
        one = producers.get(outputs.get(node, ""))
        while one is not None and one.get_type_name() not in _PRODUCTS:
            one = one.input_value(0).get_node() if one.get_input_size() else None
        if one is None:
            raise Unsupported(
                f"node {node!r}: it is no convolution or product in OpenVINO, so it cannot be kept in float"
            )
        found.append(str(one.get_friendly_name()))
    return list(dict.fromkeys(found))


def _quantise(
    model: ov.Model, samples: Samples, calibration: Calibration, kept: Sequence[str], *, half: bool
) -> ov.Model:
    import nncf
    from nncf.quantization.advanced_parameters import OverflowFix, QuantizationParameters
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        RangeEstimatorParametersSet,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    ranges = RangeEstimatorParametersSet.MINMAX
    if calibration == "percentile":  # the widest of the photos' own quantiles: their mean would cut rare channels
        low, high = (
            StatisticsCollectorParameters(
                statistics_type=StatisticsType.QUANTILE, aggregator_type=aggregator, quantile_outlier_prob=1e-4
            )
            for aggregator in (AggregatorType.MIN, AggregatorType.MAX)
        )
        ranges = RangeEstimatorParameters(min=low, max=high)
    with _silent_nncf():
        quantised: ov.Model = nncf.quantize(
            model,
            nncf.Dataset(_Rows(samples)),
            preset=_preset(model),
            subset_size=min(samples.rows, CALIBRATION_ROWS),
            model_type=nncf.ModelType.TRANSFORMER if _attends(model) else None,
            ignored_scope=nncf.IgnoredScope(names=sorted(set(kept))),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE if half else OverflowFix.DISABLE,
                activations_quantization_params=QuantizationParameters(per_channel=False),
                activations_range_estimator_params=ranges,
            ),
        )
    return quantised


def _preset(model: ov.Model) -> Any:
    """Allow zero points but where a depthwise convolution would meet one: oneDNN would leave it in float."""
    import nncf

    sources = [one.input_value(0).get_node() for one in model.get_ordered_ops() if one.get_type_name() in _DEPTHWISE]
    mixed = all(one.get_type_name() in _NEVER_NEGATIVE for one in sources)
    return nncf.QuantizationPreset.MIXED if mixed else nncf.QuantizationPreset.PERFORMANCE


def _attends(model: ov.Model) -> bool:
    """Tell whether activations are multiplied with activations, as attention does."""
    kinds = {one.get_type_name() for one in model.get_ordered_ops()}
    return "ScaledDotProductAttention" in kinds or any(
        one.get_type_name() == "MatMul"
        and not any(one.input_value(side).get_node().get_type_name() == "Constant" for side in (0, 1))
        for one in model.get_ordered_ops()
    )


class _Rows:
    """The rows of the feeds, one a batch, spread over all feeds; read again from disk whenever NNCF starts over."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows, row = self._samples.rows, 0
        taken = min(rows, CALIBRATION_ROWS)
        for feed in self._samples.read():
            for start in range(_rows_of(feed)):
                if row * taken // rows != (row - 1) * taken // rows:
                    yield {name: array[start : start + 1] if array.ndim else array for name, array in feed.items()}
                row += 1


def _rows_of(feed: dict[str, Any]) -> int:
    first = next(iter(feed.values()))
    return int(first.shape[0]) if first.ndim else 1


def _save(model: ov.Model, file: Path) -> None:
    import openvino as ov

    _name_the_nameless(model)
    ov.save_model(model, file, compress_to_fp16=False)


@contextlib.contextmanager
def _silent_nncf() -> Iterator[None]:
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _translated(slot: str) -> Iterator[None]:
    """Translate what OpenVINO and NNCF raise: their errors share no base but ``Exception``."""
    try:
        yield
    except (Unsupported, OSError):
        raise
    except Exception as error:
        reason = re.sub(r"Exception from \S+:\s*", "", " ".join(str(error).split()))
        raise Unsupported(f"{slot}: OpenVINO refuses this network: {type(error).__name__}: {reason[:300]}") from error
