from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from runtime.contracts.bundle import MANIFEST_VERSION, bundle_id_of, read_manifest
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import Unsupported, Untrusted

Data = dict[str, Any]


def read(data: object) -> object:
    return read_manifest(json.dumps(data).encode())


def test_a_newer_version_wants_a_newer_program(manifest_data: Data) -> None:
    with pytest.raises(Unsupported, match=r"newer than version.*update the agent"):
        read(manifest_data | {"manifest": MANIFEST_VERSION + 1, "something_new": 1})


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None, [1]])
def test_a_version_that_is_none_is_refused(manifest_data: Data, version: object) -> None:
    with pytest.raises(Untrusted):
        read(manifest_data | {"manifest": version})


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"null", b"\xff\xfe", b"{", b"<html>"])
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(Untrusted, match=r"manifest\.json"):
        read_manifest(raw)


ESCAPES = ["../evil", "a/../../evil", "/etc/passwd", "a\\b", "", ".", "./a", "a//b", "a/"]


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leaves_the_bundle_is_refused(manifest_data: Data, path: str) -> None:
    manifest_data["files"].append({"path": path, "sha256": "0" * 64, "size": 1})
    with pytest.raises(Untrusted, match="does not stay inside the bundle"):
        read(manifest_data)


def set_in(*path: Any, to: object) -> Callable[[Data], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return change


def first_stage(**changed: object) -> Callable[[Data], None]:
    def change(data: Any) -> None:
        variant = data["variants"][0]
        sound = {"file": variant["file"], "px": 96, "fusion": variant["fusion"], "sure_below": 0.1, "sure_from": 0.9}
        variant["first"] = sound | changed

    return change


CONTRADICTIONS: dict[str, tuple[Callable[[Data], None], str]] = {
    "a file listed twice": (lambda d: d["files"].append(d["files"][0]), "listed twice"),
    "the manifest lists itself": (
        lambda d: d["files"].append({"path": "manifest.json", "sha256": "0" * 64, "size": 1}),
        "lists itself",
    ),
    "a negative size": (set_in("files", 0, "size", to=-1), "negative size"),
    "a variant's file is not listed": (set_in("variants", 0, "file", to="other.onnx"), "'other.onnx' is used but not"),
    "the evidence is not listed": (set_in("evidence", to="proof.json"), "'proof.json' is used but not"),
    "the listing model is not listed": (set_in("listing", "file", to="trees.onnx"), "'trees.onnx' is used but not"),
    "a golden photo is not listed": (
        set_in("golden", 0, "photos", "logo", to=["golden/other.jpg"]),
        r"'golden/other\.jpg' is used but not",
    ),
    "preferred is unknown": (set_in("preferred", to="openvino-bf16"), "preferred 'openvino-bf16' must be one of"),
    "two variants of one name": (set_in("variants", 0, "name", to="ort-cpu-int8"), "distinct variants"),
    "a companion is not listed": (
        set_in("variants", 0, "companions", to=["variants/weights.bin"]),
        r"'variants/weights\.bin' is used but not",
    ),
    "the golden tensors are not listed": (set_in("golden_tensors", to="golden/t.json"), r"'golden/t\.json' is used"),
    "judged by fidelity with an input of photos": (set_in("judged_by", to="fidelity"), "'tensors' where judged by"),
    "judged by risk with tensors": (
        set_in("tensors", to=[{"name": "audio", "dtype": "float32", "shape": [None, 16000]}]),
        "'input' where judged by risk",
    ),
    "judged by risk without an input": (set_in("input", to=None), "'input' where judged by risk"),
    "no view": (set_in("views", to=[]), "views must be named"),
    "any view and one more": (set_in("views", to=["*", "logo"]), "views must be named"),
    "a tiny input": (set_in("input", "px", to=15), r"input\.px must lie in 16 to 4096, got 15"),
    "a huge input": (set_in("input", "px", to=4097), r"input\.px must lie in 16 to 4096, got 4097"),
    "weights lack a view": (
        set_in("variants", 0, "fusion", "weights", to={"logo": 1.0}),
        "weights must name the views",
    ),
    "weights name a stranger": (
        set_in("variants", 0, "fusion", "weights", "serial", to=1.0),
        "weights must name the views",
    ),
    "thresholds out of order": (
        set_in("variants", 0, "thresholds", to={"authentic_below": 0.9, "suspect_from": 0.5}),
        r"thresholds must hold 0 <= 0\.9 <= 0\.5 <= 1",
    ),
    "a negative threshold": (set_in("variants", 0, "thresholds", "authentic_below", to=-0.1), "thresholds must hold"),
    "a threshold over 1": (set_in("variants", 0, "thresholds", "suspect_from", to=1.01), "thresholds must hold"),
    "a region that leaves the photo": (
        set_in("input", "regions", to={"logo": {"left": 0.5, "top": 0.0, "width": 0.6, "height": 1.0}}),
        "the region of view 'logo' must lie inside",
    ),
    "an empty region": (
        set_in("input", "regions", to={"logo": {"left": 0.5, "top": 0.0, "width": 0.0, "height": 1.0}}),
        "the region of view 'logo' must lie inside",
    ),
    "a first stage's file is not listed": (first_stage(file="tiny.onnx"), r"'tiny\.onnx' is used but not"),
    "a first stage's companion is not listed": (first_stage(companions=["tiny.bin"]), r"'tiny\.bin' is used but not"),
    "a first stage of no size": (first_stage(px=0), r"first\.px must lie in 16 to 4096, got 0"),
    "a first stage that is sure of both": (first_stage(sure_below=0.9, sure_from=0.1), "first stage must hold 0 <="),
    "a first stage of other views": (
        first_stage(fusion={"bias": 0.0, "weights": {"logo": 1.0}}),
        "weights must name the views",
    ),
    "the listing has no features": (set_in("listing", "features", to=[]), "listing must have features"),
    "the listing has no weight": (set_in("listing", "fusion", "weights", to={}), "the one fusion weight 'listing'"),
    "the listing's threshold is over 1": (set_in("listing", "uncertain_from", to=1.5), "uncertain_from must lie in"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself_is_refused(manifest_data: Data, what: str) -> None:
    change, message = CONTRADICTIONS[what]
    read(manifest_data)
    change(manifest_data)
    with pytest.raises(Untrusted, match=message):
        read(manifest_data)


def test_a_manifest_without_a_listing_model_is_fine(manifest_data: Data) -> None:
    manifest_data["listing"] = None
    read(manifest_data)


def test_the_id_of_a_bundle_is_the_hash_of_its_manifests_bytes() -> None:
    assert (
        bundle_id_of(b"abc") == sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
