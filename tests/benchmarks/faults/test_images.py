from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.faults import images
from benchmarks.faults.cases import Settings
from benchmarks.faults.image_judge import REASONS, Judged, changed_by_the_strip, metadata_left, wrong_with
from benchmarks.faults.image_mutations import mutated
from benchmarks.faults.image_parts import PNG_SIGNATURE, format_of, put_together, take_apart
from benchmarks.faults.image_seeds import SECRET, seeds
from benchmarks.faults.images import Worker
from benchmarks.faults.results import Outcome
from runtime.photo import read_photo
from runtime.preprocess import decode


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return seeds()


def settings_for(work: Path, decodes: int) -> Settings:
    return Settings(work=work, quick=True, seed=7, decodes=decodes)


def hold(outcome: Outcome, decodes: int) -> None:
    figures = outcome.figures
    assert outcome.failures == ()
    assert figures["findings"] == 0
    assert outcome.cases == figures["accepted"] >= decodes
    assert figures["accepted"] == figures["jpeg"] + figures["png"] + figures["webp"]
    assert figures["images"] == figures["following"] - figures["first"]
    assert figures["images"] == figures["decoded"] + sum(figures.get(word, 0) for word in REASONS.values())
    assert min(figures[word] for word in ("jpeg", "png", "webp", "decoded", "undecodable", "damaged")) > decodes / 50
    assert min(figures["too_large"], figures["too_small"], figures["no_image"], figures["too_many_scans"]) > 0


def test_thousands_of_broken_photos_do_no_harm(tmp_path: Path) -> None:
    (outcome,) = images.run(settings_for(tmp_path, 3000))
    hold(outcome, 3000)


@pytest.mark.slow
def test_a_hundred_thousand_broken_photos_do_no_harm(tmp_path: Path) -> None:
    (outcome,) = images.run(replace(settings_for(tmp_path, 100_000), seed=11))
    hold(outcome, 100_000)


def test_real_photos_are_broken_too(tmp_path: Path, banknotes: Path) -> None:
    (outcome,) = images.run(replace(settings_for(tmp_path, 500), photos=banknotes))
    assert outcome.failures == ()
    assert len(seeds(banknotes)) > len(seeds())


def test_every_kind_of_photo_is_there_and_whole(photos: list[bytes]) -> None:
    kinds = {"progressive": 0, "restarts": 0, "palette": 0, "interlaced": 0, "deep": 0, "clear": 0, "animated": 0}
    for data in photos:
        assert put_together(take_apart(data), format_of(data)) == data
        read = read_photo(data, "p")
        assert decode(read, 1 << 17, "p").size == read.width_px * read.height_px * 3
        kinds["progressive"] += data.startswith(b"\xff\xd8") and b"\xff\xc2" in data
        kinds["restarts"] += data.startswith(b"\xff\xd8") and b"\xff\xdd\0\4" in data
        header = data[24:29] if data.startswith(PNG_SIGNATURE) else b""
        kinds["palette"] += header[1:2] == b"\3"
        kinds["interlaced"] += header[4:5] == b"\1"
        kinds["deep"] += header[0:1] == b"\x10"
        kinds["clear"] += b"ALPH" in data or header[1:2] in (b"\4", b"\6")
        kinds["animated"] += b"ANMF" in data or b"acTL" in data
    assert min(kinds.values()) > 1
    assert {format_of(data) for data in photos} == {"jpeg", "png", "webp"}


def test_a_number_is_always_the_same_photo_and_another_number_another(photos: list[bytes]) -> None:
    first = [mutated(number, 7, photos) for number in range(300)]
    photos_again = seeds()
    assert first == [mutated(number, 7, photos_again) for number in range(300)]
    assert len({*first}) > 280
    assert first != [mutated(number, 8, photos) for number in range(300)]


def test_the_judge_sees_metadata_where_it_is_and_none_after_the_strip(photos: list[bytes]) -> None:
    told = [data for data in photos if SECRET in data]
    assert {format_of(data) for data in told} == {"jpeg", "png", "webp"}
    for data in told:
        clean = read_photo(data, "p")
        assert metadata_left(replace(clean, data=data))
        assert SECRET not in clean.data
        assert wrong_with(clean) == []


def test_the_judge_sees_another_picture_and_a_lost_orientation(photos: list[bytes]) -> None:
    (turned, *_) = (data for data in photos if data.startswith(b"\xff\xd8") and upright(data) != unturned(data))
    right = read_photo(turned, "p")
    assert changed_by_the_strip(turned, right, decode(right, 1 << 17, "p")) == []
    parts = [part for part in take_apart(right.data) if part.kind != b"\xe1"]
    lost = replace(right, data=put_together(parts, "jpeg"))
    assert changed_by_the_strip(turned, lost, decode(lost, 1 << 17, "p")) == ["the strip lost the orientation"]
    for data in photos:  # other pictures, of every kind
        if unturned(data) != unturned(turned):
            other = read_photo(data, "p")
            assert changed_by_the_strip(turned, other, decode(other, 1 << 17, "p")) == ["the strip changed the picture"]


def upright(data: bytes) -> bytes:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)).tobytes()


def unturned(data: bytes) -> bytes:
    flag = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flag)).tobytes()


def test_the_judge_finds_what_is_no_error_of_ours_and_what_takes_too_long(
    photos: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = Judged()
    judged.judge(5, memoryview(photos[0]))  # type: ignore[arg-type]  # a mistake of the programmer's
    ((number, why),) = judged.findings
    assert number == 5
    assert "AttributeError" in why
    monkeypatch.setattr("benchmarks.faults.image_judge.MOST_CPU_S", 0.0)
    judged = Judged()
    judged.judge(6, photos[0])
    assert all("s of processor" in why for _, why in judged.findings)
    assert judged.findings


@pytest.fixture
def worker(photos: list[bytes]) -> Iterator[Worker]:
    one = Worker(photos, 7)
    yield one
    one.stop()


@pytest.mark.parametrize(
    ("harm", "said"), [(signal.SIGSEGV, "the process died: SIGSEGV"), (signal.SIGSTOP, "no end after")]
)
def test_a_photo_that_kills_or_hangs_is_named_and_the_others_are_judged(
    worker: Worker, harm: signal.Signals, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_HANGS_S", 3.0)
    found: list[Judged] = []
    thread = threading.Thread(target=lambda: found.append(worker.judge(0, 2000)))
    thread.start()
    while worker._at.value < 50:
        time.sleep(0.001)
    os.kill(worker._process.pid or 0, harm)
    thread.join()
    (judged,) = found
    ((number, why),) = judged.findings
    assert 50 <= number < 2000
    assert said in why
    assert (judged.counted["images"], judged.counted["died"]) == (2000, 1)
