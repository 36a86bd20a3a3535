"""Two models in one bundle: what may be paired, what a pair costs, and that a station decides as the evidence says."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import onnx
import pytest

from calibration_data.dataset import Dataset, Item
from optimize.cascade import SUFFIX, cascades, mean_cost, paired_spec
from optimize.evidence import FirstStageEvidence, Gate, Latency, SourceEvidence
from optimize.float_model import FloatModel
from optimize.freezing import Frozen
from optimize.gate import mean_latency
from optimize.model import MODEL_JSON, ModelSpec, load_spec
from optimize.pack import listing_of
from optimize.risk import rate
from optimize.targets.target import Slot
from optimize.targets.x86 import FLOAT, INT8, INT8_AVX2
from runtime.contracts.bundle import Region, Variant
from runtime.contracts.errors import Unsupported
from runtime.inspector import Inspection, Inspector, disagreements
from tests.optimize.rigs import Built, touchstone_optimize

LOGO = Region(left=0.05, top=0.05, width=0.9, height=0.9)
SPEC = ModelSpec(
    name="goods",
    px=64,
    views=("logo", "serial"),
    trained_on=("a", "b"),
    folds=None,
    listing=None,
    seed=7,
    by_time=False,
    provenance={},
)
BOTH = (FLOAT + SUFFIX, INT8_AVX2 + SUFFIX)


def a_model(**changes: object) -> FloatModel:
    return FloatModel(
        spec=dataclasses.replace(SPEC, **changes),  # type: ignore[arg-type]
        kind="authenticator",
        network=onnx.ModelProto(),
        tensors=(),
        keep_float=(),
        listing=None,
        already_quantised=False,
        evidence=SourceEvidence(kind="authenticator", notes=(), parity=None),
        provenance={},
    )


def test_a_pair_is_as_its_large_model_and_was_trained_on_what_either_saw() -> None:
    found = paired_spec(a_model(), a_model(px=96, trained_on=("b", "c")))
    assert (found.px, found.trained_on) == (96, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("small", "large", "words"),
    [
        (a_model(), a_model(views=("logo",)), "looks at the views logo, serial and the second at logo"),
        (a_model(), a_model(views=("*",)), "and the second at \\*"),
        (a_model(), a_model(regions={"logo": LOGO}), "different regions"),
        (a_model(px=96), a_model(), "wants photos of 96 px and the second of 64 px"),
        (a_model(), a_model(folds={"a": 0, "b": 1}), "not cross-fitted over the same folds"),
        (a_model(), dataclasses.replace(a_model(), kind="photos"), "give two authenticators"),
    ],
)
def test_models_that_make_no_cascade_are_refused_in_words(small: FloatModel, large: FloatModel, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        paired_spec(small, large)


def frozen(slot: str, *gates: Gate) -> Frozen:
    return Frozen(
        name=slot,
        target="x86",
        slot=Slot(name=slot, engine="onnxruntime", precision="float32", baseline=None),
        precision="float32",
        shipped=None,
        candidate=None,
        attempt=None,
        compared=None,
        gates=gates,
        coverage=None,
    )


def gate(passed: bool, reason: str) -> Gate:
    return Gate(gate="parity", passed=passed, reason=reason)


def test_only_variants_of_the_same_slot_are_paired_and_a_refused_stage_refuses_both() -> None:
    seconds = [frozen(FLOAT, gate(True, "close")), frozen(INT8, gate(True, "near")), frozen(INT8_AVX2)]
    firsts = [frozen(FLOAT, gate(False, "far")), frozen(INT8, gate(True, "as near"))]
    found = cascades(seconds, firsts, 64, None)
    assert [one.name for one in found] == [FLOAT + SUFFIX, INT8 + SUFFIX]
    assert found[0].gates[0] == gate(False, "first stage: far; second stage: close")
    assert found[1].gates[0] == gate(True, "first stage: as near; second stage: near")
    assert not found[0].alive
    assert [one.first.px for one in found if one.first] == [64, 64]


def latency(p50_us: float, ratio: float) -> Latency:
    return Latency(
        p50_us=p50_us,
        p90_us=2 * p50_us,
        baseline=FLOAT,
        ratio=ratio,
        ratio_low=ratio - 0.05,
        ratio_high=ratio + 0.05,
    )


@pytest.mark.parametrize(
    ("escalated", "p50_us", "p90_us", "ratio"),
    [(0.0, 100, 200, 0.1), (0.3, 400, 2200, 0.4), (1.0, 1100, 2200, 1.1), (0.05, 150, 200, 0.15)],
)
def test_a_photo_costs_the_first_stage_and_the_second_for_the_share_that_needs_it(
    escalated: float, p50_us: float, p90_us: float, ratio: float
) -> None:
    found = mean_cost(latency(100, 0.1), latency(1000, 1.0), escalated)
    assert (found.p50_us, found.p90_us, found.mean) == (pytest.approx(p50_us), pytest.approx(p90_us), True)
    assert (found.ratio, found.ratio_low) == (pytest.approx(ratio), pytest.approx(ratio - 0.05))


def first_stage(decided: int) -> FirstStageEvidence:
    return FirstStageEvidence(
        px=64,
        precision="int8",
        size_bytes=1,
        p50_us=1.0,
        sure_below=0.1,
        sure_from=0.9,
        genuine=rate(decided, 100),
        counterfeit=rate(0, 0),
    )


def test_a_cascade_that_is_no_faster_than_its_large_model_alone_is_refused() -> None:
    slow = mean_latency(mean_cost(latency(100, 0.3), latency(1000, 1.0), 0.9), first_stage(10))
    fast = mean_latency(mean_cost(latency(100, 0.3), latency(1000, 1.0), 0.2), first_stage(80))
    assert (slow.passed, fast.passed) == (False, True)
    assert slow.reason.endswith("on average: keep the second stage alone")
    assert fast.reason.startswith(
        "the first stage decides 80.0% of items alone, so a photo takes 0.50 [0.45, 0.55] times"
    )
    assert mean_latency(None, first_stage(80)).passed


@pytest.mark.slow
def test_items_that_either_model_was_trained_on_certify_nothing(
    pair: tuple[Path, Path], goods_folder: Path, goods: Dataset, tmp_path: Path
) -> None:
    tested = next(item.item_id for item in goods.items if item.split == "certify")
    for place in (0, 1):
        models = [Path(shutil.copytree(folder, tmp_path / f"{place}-{number}")) for number, folder in enumerate(pair)]
        told = json.loads((models[place] / MODEL_JSON).read_text())
        (models[place] / MODEL_JSON).write_text(json.dumps({**told, "trained_on": [*told["trained_on"], tested]}))
        small, large = models
        run = touchstone_optimize(
            *("build", small, "--escalate", large, "--data", goods_folder, "--out", tmp_path / "bundle")
        )
        assert run.code == 2
        assert f"item {tested!r}" in run.err
        assert "were trained on" in run.err


@pytest.mark.slow
def test_a_cascade_needs_labelled_items(pair: tuple[Path, Path], goods_folder: Path, tmp_path: Path) -> None:
    small, large = pair
    options = ("--samples", goods_folder / "photos", "--out", tmp_path / "bundle")
    run = touchstone_optimize("build", small, "--escalate", large, *options)
    assert run.code == 2
    assert "a cascade decides about items; give labelled ones with --data" in run.err


# --- one bundle of two real models


def variant(built: Built, name: str) -> Variant:
    return next(one for one in built.bundle.manifest.variants if one.name == name)


def inspect(inspector: Inspector, item: Item) -> Inspection:
    photos = {photo.view: [photo.path.read_bytes()] for photo in item.photos}
    return inspector.inspect(photos, listing_of(item, inspector.bundle.manifest))


@pytest.mark.slow
def test_a_bundle_holds_the_large_model_alone_and_cascades_of_both(cascade: Built) -> None:
    names = [one.name for one in cascade.bundle.manifest.variants]
    assert {FLOAT, INT8_AVX2, *BOTH} <= set(names)
    assert cascade.bundle.manifest.name == "goods-64"
    assert cascade.bundle.manifest.input is not None
    assert cascade.bundle.manifest.input.px == 192
    for name in BOTH:
        found, alone = variant(cascade, name), variant(cascade, name.removesuffix(SUFFIX))
        assert found.first is not None
        assert (found.first.px, found.file, alone.first) == (64, alone.file, None)
        assert found.first.file == f"variants/first/{Path(found.file).name}"
        assert found.fusion == alone.fusion != found.first.fusion
    assert cascade.evidence.claims is not None
    assert cascade.evidence.claims.variants == len(names)  # the error level is divided over cascades, too


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
def test_a_station_scores_every_reported_item_as_the_evidence_says(cascade: Built, goods: Dataset, name: str) -> None:
    inspector, decision = Inspector.open(cascade.bundle, variant=name), cascade.evidence.variant(name).decision
    assert decision is not None
    by_id = {item.item_id: item for item in goods.items}
    seconds = 0
    for reported, p in zip(cascade.evidence.reported, decision.p, strict=True):
        found = inspect(inspector, by_id[reported.item_id])
        seconds += "escalate" in found.timings_us
        assert found.prediction.p_counterfeit == pytest.approx(p, abs=1e-5)
    assert 0 < seconds < len(decision.p)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
def test_a_station_misses_and_escalates_as_many_certify_items_as_the_evidence_says(
    cascade: Built, goods: Dataset, name: str
) -> None:
    inspector, evidence = Inspector.open(cascade.bundle, variant=name), cascade.evidence.variant(name)
    assert evidence.decision is not None
    assert evidence.first is not None
    certificate = evidence.decision.certificate
    assert certificate.certified
    assert certificate.upper_bound <= 0.3
    certify = {item.item_id: item for item in goods.items if item.split == "certify"}
    found = {item_id: inspect(inspector, item) for item_id, item in certify.items()}
    fakes = [item_id for item_id, item in certify.items() if item.label == "counterfeit"]
    below = [i for i in fakes if (found[i].prediction.p_counterfeit or 0.0) < certificate.threshold]
    assert len(below) == certificate.misses
    alone = [i for i, one in found.items() if "escalate" not in one.timings_us]
    assert evidence.first.decided == pytest.approx(len(alone) / len(certify))
    assert evidence.first.counterfeit.count == len(set(alone) & set(fakes))


@pytest.mark.slow
def test_what_a_cascade_takes_follows_from_its_stages_and_is_said(cascade: Built) -> None:
    for name in BOTH:
        found, alone = (cascade.evidence.variant(one) for one in (name, name.removesuffix(SUFFIX)))
        assert found.first is not None
        assert found.first.p50_us is not None
        assert found.latency is not None
        assert alone.latency is not None
        escalated = 1 - found.first.decided
        assert found.latency.baseline == alone.name
        assert found.latency.p50_us == pytest.approx(found.first.p50_us + escalated * alone.latency.p50_us)
        assert found.size_bytes == alone.size_bytes + found.first.size_bytes
    preferred = cascade.evidence.variant(cascade.evidence.preferred)
    assert preferred.accepted
    assert "cascade  a first network (64 px, float32" in cascade.text
    report = (cascade.bundle.folder / "report.html").read_text(), (cascade.bundle.folder / "MODEL_CARD.md").read_text()
    assert all("a first network (64 px, float32" in text for text in report)
    again = touchstone_optimize("compare", cascade.bundle.folder, cascade.bundle.folder)
    assert (again.code, again.err) == (0, "")


@pytest.mark.slow
def test_cascades_prove_themselves_on_golden_samples_that_no_rounding_sends_elsewhere(cascade: Built) -> None:
    for name in BOTH:
        assert disagreements(Inspector.open(cascade.bundle, variant=name)) == []


@pytest.mark.slow
def test_a_region_is_in_the_model_and_the_manifest_and_is_what_the_network_sees(
    cascade: Built, pair: tuple[Path, Path], goods: Dataset
) -> None:
    manifest = cascade.bundle.manifest
    assert manifest.input is not None
    assert [load_spec(folder).regions for folder in pair] == [{"logo": LOGO}] * 2
    assert manifest.input.regions == {"logo": LOGO}
    whole = dataclasses.replace(manifest, input=dataclasses.replace(manifest.input, regions={}))
    part, all_of_it = (
        Inspector.open(dataclasses.replace(cascade.bundle, manifest=one), variant=FLOAT) for one in (manifest, whole)
    )
    photos = {photo.view: photo.path.read_bytes() for photo in goods.items[0].photos}
    assert part.look("logo", photos["logo"]).logit != pytest.approx(all_of_it.look("logo", photos["logo"]).logit)
    assert part.look("stitching", photos["stitching"]).logit == all_of_it.look("stitching", photos["stitching"]).logit
