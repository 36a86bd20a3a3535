"""Wire files of every version. A file here never changes: a station may still send it, or hold it on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from runtime.contracts import sync
from runtime.contracts.bundle import BundleManifest, read_manifest
from runtime.contracts.codec import canonical_json, decode, parse_json
from runtime.contracts.export import Export
from runtime.contracts.records import Record
from runtime.contracts.sync import (
    Answer,
    Answers,
    Assignment,
    EnrolAnswer,
    EnrolmentCode,
    EnrolRequest,
    FeaturesAhead,
    Heartbeat,
    ListingFeatures,
    Objection,
    ReleaseInfo,
    ScoreBins,
    StationHistory,
    StationReport,
)

MESSAGES: dict[str, type] = {
    "answers": Answers,
    "assignment": Assignment,
    "assignment_of_nothing": Assignment,
    "bundle_manifest": BundleManifest,
    "bundle_manifest_of_fidelity": BundleManifest,
    "enrol_answer": EnrolAnswer,
    "enrol_request": EnrolRequest,
    "features_ahead": FeaturesAhead,
    "heartbeat": Heartbeat,
    "heartbeat_without_a_model": Heartbeat,
    "export": Export,
    "objection": Objection,
    "record": Record,
    "release_info": ReleaseInfo,
    "station_history": StationHistory,
    "station_report": StationReport,
    "station_report_on_watch": StationReport,
    "station_report_reverted": StationReport,
    "station_report_without_a_model": StationReport,
}
NOT_SENT_ALONE = {Answer, EnrolmentCode, ListingFeatures, ScoreBins}


GREW: dict[str, str] = {
    "bundle_manifest.v1": "bundle_manifest.v2",
    "bundle_manifest.v2": "bundle_manifest.v3",
    "bundle_manifest_of_fidelity.v2": "bundle_manifest_of_fidelity.v3",
    "record.v1": "record.v2",
}
"""Files of a version that has a later one: they decode for ever, and what is written has the later version's fields."""


@pytest.mark.parametrize(("name", "cls"), MESSAGES.items())
def test_a_golden_file_decodes_and_comes_out_the_same_bytes(golden: Path, name: str, cls: type) -> None:
    for path in golden.glob(f"{name}.v*.json"):
        raw = path.read_bytes()
        written = canonical_json(decode(cls, parse_json(raw, name), name))
        assert (written == raw) == (path.stem not in GREW)


@pytest.mark.parametrize("name", sorted(name for name in {*GREW, *GREW.values()} if name.startswith("bundle_")))
def test_a_golden_manifest_of_every_version_is_admitted(golden: Path, name: str) -> None:
    manifest = read_manifest((golden / f"{name}.json").read_bytes())
    assert (manifest.input is None) == (manifest.judged_by == "fidelity")
    assert {variant.execution for variant in manifest.variants} <= {"timed", "untimed"}


def test_the_golden_manifest_is_admitted(golden: Path) -> None:
    manifest = read_manifest((golden / "bundle_manifest.v1.json").read_bytes())
    assert manifest.preferred == "ort-cpu-int8"
    assert manifest.variants[1].isa == ("avx512_vnni|avx_vnni",)


def test_the_golden_record_means_what_it_meant(golden: Path) -> None:
    record = read_golden(golden, "record.v1")
    assert (record.verdict, record.audited, record.prediction.p_counterfeit) == ("uncertain", True, 0.125)
    assert record.listing == {"price_ratio": 0.71, "return_rate": None, "seller_items": 3.0}
    assert [(score.view, score.logit) for score in record.views] == [("logo", -1.5), ("première couture", None)]


def test_a_record_of_version_1_is_one_of_version_2_that_nothing_came_before(golden: Path) -> None:
    old, new = read_golden(golden, "record.v1"), read_golden(golden, "record.v2")
    assert (old.v, old.rescan_of, old.features_as_of) == (1, None, None)
    assert (new.v, new.rescan_of, new.features_as_of) == (2, "2" * 64, "2026-11-22T20:00:00.000000+00:00")


def read_golden(golden: Path, name: str) -> Record:
    return decode(Record, parse_json((golden / f"{name}.json").read_bytes(), "record"), "record")


def test_every_wire_message_has_a_golden_file_and_every_file_is_tested(golden: Path) -> None:
    sent = {
        cls
        for cls in vars(sync).values()
        if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == sync.__name__
    }
    assert sent - NOT_SENT_ALONE <= set(MESSAGES.values())
    assert {path.name.split(".v")[0] for path in golden.iterdir()} == set(MESSAGES)
    assert GREW.keys() | set(GREW.values()) <= {path.stem for path in golden.iterdir()}
