"""From photos to a bundle, once, with the real engine; conftest says what is built."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from calibration_data.dataset import Dataset, Item
from optimize.evidence import Decision
from optimize.model import load_spec
from optimize.pack import listing_of
from optimize.risk import upper_bound
from optimize.risk_judge import gather
from optimize.roles import choose_roles
from optimize.scoring import Row
from optimize.targets.x86 import FLOAT, INT8, INT8_AVX2, VNNI
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported
from runtime.engine import cpu_flags
from runtime.inspector import Inspection, Inspector, disagreements
from runtime.photo import sanitise
from tests.optimize.rigs import Built, build, touchstone_optimize


def items_of(goods: Dataset, split: str) -> list[Item]:
    return [item for item in goods.items if item.split == split]


def inspect(inspector: Inspector, item: Item) -> Inspection:
    photos = {photo.view: [photo.path.read_bytes()] for photo in item.photos}
    return inspector.inspect(photos, listing_of(item, inspector.bundle.manifest))


@dataclasses.dataclass(frozen=True)
class DecidedVariant:
    name: str
    decision: Decision


def decided(built: Built) -> list[DecidedVariant]:
    """The variants of a bundle with what they decide."""
    found = [DecidedVariant(v.name, v.decision) for v in built.evidence.variants if v.accepted and v.decision]
    assert found
    return found


def variants(built: Built) -> list[str]:
    return [variant.name for variant in built.bundle.manifest.variants]


def has_vnni() -> bool:
    return bool(cpu_flags() & set(VNNI.split("|")))


def test_int8_runs_in_integers_and_float_in_floats_but_for_the_head(proved: Built) -> None:
    kernels = {v.name: (v.integer_kernels, v.float_kernels) for v in proved.evidence.variants if v.accepted}
    assert kernels[FLOAT] == (0, 50)
    quantised = {name: found for name, found in kernels.items() if name != FLOAT}
    assert quantised
    for name, (integer, floating) in quantised.items():
        excluded = len(proved.evidence.variant(name).excluded)
        assert (integer, floating) == (49 - excluded, 1 + excluded)


def test_what_this_cpu_cannot_judge_is_refused_in_words_and_the_rest_is_in_the_bundle(proved: Built) -> None:
    state = {variant.name: variant for variant in proved.evidence.variants}
    assert set(state) == {FLOAT, INT8, INT8_AVX2}
    assert state[INT8].accepted == has_vnni()
    if not has_vnni():
        assert "this CPU has none of avx512_vnni|avx_vnni" in state[INT8].reasons[0]
    assert variants(proved) == [name for name in (FLOAT, INT8, INT8_AVX2) if state[name].accepted]


def test_int8_is_less_than_a_third_of_the_size(proved: Built) -> None:
    size = {variant.name: variant.size_bytes for variant in proved.evidence.variants}
    assert 0 < size[INT8_AVX2] < size[FLOAT] / 3


def test_int8_and_float_agree_on_every_item_to_a_few_percent(proved: Built, goods: Dataset) -> None:
    both = [Inspector.open(proved.bundle, variant=name) for name in (FLOAT, INT8_AVX2)]
    photos = [photo for item in items_of(goods, "evaluate") for photo in item.photos]
    one, other = ([each.look(photo.view, photo.path.read_bytes()).logit for photo in photos] for each in both)
    assert np.corrcoef(one, other)[0, 1] > 0.98


def test_every_gate_of_a_shipped_variant_answered_and_passed(proved: Built) -> None:
    for variant in proved.evidence.variants:
        if variant.accepted:
            assert all(gate.passed and gate.reason for gate in variant.gates)
            answered = {gate.gate for gate in variant.gates}
            assert answered >= {"compile", "parity", "fallback", "size", "latency", "risk"}
            assert ("fusion" in answered) == (variant.precision != "float32")


def test_the_search_tried_every_calibration_and_what_the_sensitivity_pass_proposed(proved: Built) -> None:
    tried = [one for one in proved.evidence.candidates if one.slot == INT8_AVX2]
    assert {one.calibration for one in tried} == {"minmax", "percentile", "entropy"}
    assert {one.excluded for one in tried} == {0, 2, 6}
    assert [one.outcome for one in tried].count("frozen") == 1
    assert len(proved.evidence.sensitivity) == 49


def test_a_second_build_with_nothing_changed_compiles_nothing_and_gives_the_same_variants(
    proved: Built, model: Path, goods_folder: Path, tmp_path: Path, build_cache: Path
) -> None:
    before = {path.name for path in (build_cache / "touchstone" / "optimize").iterdir()}
    again = build(model, goods_folder, tmp_path, "--max-missed", 0.3)
    assert {path.name for path in (build_cache / "touchstone" / "optimize").iterdir()} == before
    assert again.evidence == proved.evidence


def test_every_variant_proves_itself_on_the_golden_samples(proved: Built, unproved: Built) -> None:
    for built in (proved, unproved):
        assert len(built.bundle.manifest.golden) == 3
        for name in variants(built):
            assert disagreements(Inspector.open(built.bundle, variant=name)) == []


def test_a_budget_that_the_items_can_prove_is_certified_with_its_numbers(proved: Built) -> None:
    claims = proved.evidence.claims
    assert claims is not None
    assert claims.alpha_per_claim == pytest.approx(0.05 / len(variants(proved)))
    for variant in decided(proved):
        certificate = variant.decision.certificate
        assert certificate.certified
        assert certificate.n == 16
        assert certificate.upper_bound == upper_bound(certificate.misses, 16, claims.alpha_per_claim)
        assert certificate.upper_bound <= 0.3
        assert certificate.more_counterfeits == 0
    assert "proved   " in proved.text
    assert "of 16 counterfeits missed: at most" in proved.text


def test_the_station_misses_as_many_counterfeits_as_the_certificate_says(proved: Built, goods: Dataset) -> None:
    fakes = [item for item in items_of(goods, "certify") if item.label == "counterfeit"]
    found = {variant.name: variant.decision.certificate for variant in decided(proved)}
    for variant in proved.bundle.manifest.variants:
        inspector = Inspector.open(proved.bundle, variant=variant.name)
        assert variant.thresholds.authentic_below == found[variant.name].threshold > 0
        p = [inspect(inspector, item).prediction.p_counterfeit for item in fakes]
        missed = sum(one is not None and one < variant.thresholds.authentic_below for one in p)
        assert missed == found[variant.name].misses


def test_the_report_counts_what_the_station_would_say(proved: Built, goods: Dataset) -> None:
    evaluate = items_of(goods, "evaluate")
    for variant in decided(proved):
        inspector = Inspector.open(proved.bundle, variant=variant.name)
        verdicts = {item.item_id: inspect(inspector, item).verdict for item in evaluate}
        reviewed = sum(verdict != "authentic" for verdict in verdicts.values())
        missed = sum(verdicts[item.item_id] == "authentic" for item in evaluate if item.label == "counterfeit")
        report = variant.decision.evaluation
        assert (report.review.count, report.review.n) == (reviewed, len(evaluate))
        assert report.far.count == missed


def test_what_was_trained_on_certifies_nothing(proved: Built, model: Path, goods: Dataset) -> None:
    trained = set(load_spec(model).trained_on)
    assert trained == {item.item_id for item in items_of(goods, "train")}
    assert set(proved.evidence.certified_on) == {item.item_id for item in items_of(goods, "certify")}
    assert not trained & set(proved.evidence.certified_on)


def test_a_budget_that_wants_more_items_says_how_many_and_claims_nothing(unproved: Built) -> None:
    for variant in decided(unproved):
        assert not variant.decision.certificate.certified
        assert variant.decision.certificate.more_counterfeits >= 3688 - 16  # 0.999 ** 3688 <= 0.025
    for shipped in unproved.bundle.manifest.variants:
        assert shipped.thresholds.authentic_below == 0.0
    assert "NOT PROVED with 16 counterfeits: " in unproved.text
    assert "everything goes to an expert" in unproved.text


def test_without_a_proof_every_item_goes_to_an_expert(unproved: Built, goods: Dataset) -> None:
    for name in variants(unproved):
        inspector = Inspector.open(unproved.bundle, variant=name)
        for item in items_of(goods, "evaluate"):
            assert inspect(inspector, item).verdict != "authentic"


def test_a_listing_that_is_missing_sends_an_item_to_an_expert(proved: Built, goods: Dataset) -> None:
    item = items_of(goods, "evaluate")[0]
    photos = {photo.view: [photo.path.read_bytes()] for photo in item.photos}
    inspection = Inspector.open(proved.bundle).inspect(photos, None)
    assert inspection.verdict != "authentic"
    assert "listing_missing" in [reason.code for reason in inspection.reasons] or inspection.verdict == "suspect"


def test_the_same_inputs_and_seed_give_the_same_networks(proved: Built, unproved: Built) -> None:
    """Two builds, two budgets: the compiled networks do not depend on the budget, the clock or the run."""
    one, other = (
        {entry.path: entry.sha256 for entry in built.bundle.manifest.files if entry.path.startswith("variants/")}
        for built in (proved, unproved)
    )
    assert one == other
    assert f"variants/{FLOAT}.onnx" in one


def test_inspect_prints_what_build_printed(proved: Built) -> None:
    run = touchstone_optimize("inspect", proved.bundle.folder)
    assert (run.code, run.out, run.err) == (0, proved.text, "")
    assert run.out.startswith(f"bundle goods  {proved.bundle.bundle_id[:16]}")


def test_inspect_prints_the_evidence_as_json(proved: Built) -> None:
    run = touchstone_optimize("inspect", proved.bundle.folder, "--json")
    assert run.code == 0
    assert run.out.encode() == proved.bundle.path("evidence.json").read_bytes() + b"\n"


def test_golden_photos_hold_pixels_and_nothing_else(proved: Built) -> None:
    photos = sorted((proved.bundle.folder / "golden").iterdir())
    assert photos
    for path in photos:
        data = path.read_bytes()
        assert sanitise(data, path.name) == data
        assert path.stem == sha256_hex(data)[:32]


def test_golden_samples_spread_over_the_scale_and_chose_nothing(proved: Built, goods: Dataset) -> None:
    preferred = proved.bundle.manifest.preferred
    p = [golden.p_counterfeit[preferred] for golden in proved.bundle.manifest.golden]
    assert p == sorted(p)
    evaluate = {
        sha256_hex(sanitise(photo.path.read_bytes(), "x"))[:32]
        for item in items_of(goods, "evaluate")
        for photo in item.photos
    }
    used = itertools.chain.from_iterable(g.photos.values() for g in proved.bundle.manifest.golden)
    assert {Path(path).stem for paths in used for path in paths} <= evaluate


def test_a_second_release_may_not_certify_on_what_the_first_one_spent(
    proved: Built, model: Path, goods_folder: Path, tmp_path: Path
) -> None:
    run = touchstone_optimize(
        "build", model, "--data", goods_folder, "--out", tmp_path / "b", "--after", proved.bundle.folder
    )
    assert run.code == 2
    assert "certify has no counterfeit and no genuine item left" in run.err
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_scores_nan_is_refused_by_the_item(model: Path, goods: Dataset) -> None:
    spec = load_spec(model)
    roles = choose_roles(goods, spec, share=1.0, spent=frozenset())
    item = roles.calibrate[0]
    row = Row(item_id=item.item_id, view="logo", outputs=(np.array([0.0, np.nan, 0.0], np.float32),))
    with pytest.raises(Unsupported, match=rf"photo 'logo' of item '{item.item_id}' scores nan"):
        gather([row], 0, spec, roles)


def test_a_listing_that_says_nothing_or_leaves_something_out_goes_to_an_expert(proved: Built) -> None:
    inspector = Inspector.open(proved.bundle)
    golden, model = proved.bundle.manifest.golden[0], proved.bundle.manifest.listing
    assert golden.listing is not None
    assert model is not None
    photos = {v: [proved.bundle.path(path).read_bytes() for path in paths] for v, paths in golden.photos.items()}
    partial = {name: value for name, value in golden.listing.items() if name != model.features[0]}
    for listing in ({}, {"nosuch": 1.0}, dict.fromkeys(golden.listing), partial):
        inspection = inspector.inspect(photos, listing)
        assert inspection.prediction.p_fraud is None
        assert inspection.verdict != "authentic"
        assert "listing_missing" in {reason.code for reason in inspection.reasons}
    assert inspector.inspect(photos, golden.listing).prediction.p_fraud is not None
