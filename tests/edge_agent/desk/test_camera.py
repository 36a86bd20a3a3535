"""The station's own camera, played by a real video file: it is plugged in by writing it, and unplugged by renaming."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.desk.camera import Camera
from edge_agent.home import Home
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import StationFault
from runtime.photo import read_photo
from runtime.preprocess import decode
from tests.edge_agent.desk.rigs import running
from tests.edge_agent.rigs import wait_until

WIDTH, HEIGHT, FPS = 1280, 720, 25


def film(path: Path, seconds: float = 1.0, red: int = 20) -> Path:
    """Write a Motion JPEG whose frames grow greener, with a square that moves: one can be told from another."""
    whole = path.with_suffix(".whole.avi")
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    assert writer.isOpened()
    frames = round(seconds * FPS)
    for number in range(frames):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        frame[:] = (0, 40 + number * 200 // frames, red)
        frame[:40, 5 * number : 5 * number + 40] = 0
        writer.write(frame)
    writer.release()
    whole.rename(path)
    return path


def test_a_frame_is_rgb_at_full_size_and_taken_after_it_was_asked_for(tmp_path: Path) -> None:
    camera = Camera(str(film(tmp_path / "camera.avi", red=200)))
    try:
        first, later = camera.frame(), camera.frame()
        assert first.pixels.shape == (HEIGHT, WIDTH, 3)
        red, green, blue = first.pixels.reshape(-1, 3).mean(0)
        assert red == pytest.approx(200, abs=6)
        assert blue == pytest.approx(0, abs=6)
        assert later.pixels[..., 1].mean() > green
    finally:
        camera.close()


def test_a_preview_is_small_and_never_the_same_twice(tmp_path: Path) -> None:
    camera = Camera(str(film(tmp_path / "camera.avi")))
    try:
        number, jpeg = camera.preview()
        photo = read_photo(jpeg, "preview")
        assert (photo.width_px, photo.height_px) == (960, 540)
        assert len(jpeg) < 100_000
        assert camera.preview(number)[0] > number
    finally:
        camera.close()


def test_it_is_closed_when_nobody_looks_and_opened_again_by_the_next_look(tmp_path: Path) -> None:
    camera = Camera(str(film(tmp_path / "camera.avi", 3.0)), closed_after_s=0.2)
    try:
        assert not camera.is_open
        camera.frame()
        assert camera.is_open
        wait_until(lambda: not camera.is_open, "it is closed")
        before_s = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before_s < 0.005, "a closed camera uses no processor"
        assert camera.frame().pixels.shape == (HEIGHT, WIDTH, 3)
    finally:
        camera.close()


def test_one_that_is_not_there_says_what_to_do_and_comes_back_by_itself(tmp_path: Path) -> None:
    camera = Camera(str(tmp_path / "camera.avi"))
    try:
        with pytest.raises(StationFault, match="plug it in"):
            camera.frame()
        assert camera.why is not None
        film(tmp_path / "camera.avi")

        def is_back() -> bool:
            try:
                return camera.preview() is not None
            except StationFault:
                return False

        wait_until(is_back, "it is back")
        assert camera.why is None
    finally:
        camera.close()


def test_used_anyway_it_is_the_very_frame_that_was_seen_refused(home_with_model: Home, tmp_path: Path) -> None:
    with running(home_with_model, camera=str(film(tmp_path / "camera.avi"))) as (desk, _):
        session_id = desk.begin("bag")
        photo = f"/v1/sessions/{session_id}/photos/logo"
        assert desk.ask("PUT", f"{photo}?refused=1").status == desk.ask("GET", f"{photo}/refused").status == 404
        for _ in range(2):  # the last one counts
            refused = desk.ask("PUT", f"{photo}?camera=1").json
            assert (refused["kept"], refused["sha256"]) == (False, None)
        seen = desk.ask("GET", f"{photo}/refused").body
        moved_on = desk.ask("PUT", f"/v1/sessions/{session_id}/photos/stitching?camera=1&keep=1").json["sha256"]
        for _ in range(2):  # asked again when the answer was lost
            kept = desk.ask("PUT", f"{photo}?refused=1").json
            assert (kept["kept"], kept["problems"]) == (True, refused["problems"])
        assert kept["sha256"] == sha256_hex(seen) != moved_on
        assert desk.ask("GET", f"/v1/photos/{kept['sha256']}").body == seen
        assert desk.ask("DELETE", f"/v1/sessions/{session_id}").status == 204
        assert desk.ask("GET", f"{photo}/refused").status == 404


def test_closing_ends_a_wait_for_a_picture(tmp_path: Path) -> None:
    camera = Camera(str(film(tmp_path / "camera.avi")))
    camera.frame()
    camera.close()
    assert not camera.is_open
    with pytest.raises(StationFault):
        camera.frame()


def test_photos_are_taken_with_the_stations_camera_until_it_is_unplugged(
    home_with_model: Home, tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    path = film(tmp_path / "camera.avi")
    with running(home_with_model, camera=str(path)) as (desk, daemon):
        assert desk.get("/v1/state")["camera"] == {"source": "station", "ok": True, "why": None}
        session_id = desk.begin("bag")
        taken = desk.ask("PUT", f"/v1/sessions/{session_id}/photos/logo?camera=1&keep=1")
        assert (taken.status, taken.json["kept"]) == (200, True), taken.body
        kept = desk.ask("GET", f"/v1/photos/{taken.json['sha256']}")
        assert kept.headers["content-type"] == "image/jpeg"
        assert decode(read_photo(kept.body, "kept"), HEIGHT, "kept").shape == (HEIGHT, WIDTH, 3)
        path.rename(tmp_path / "unplugged.avi")
        wait_until(lambda: not desk.get("/v1/state")["camera"]["ok"], "the state says so")
        assert "plug it in" in desk.get("/v1/state")["camera"]["why"]
        for method, route in (
            ("PUT", f"/v1/sessions/{session_id}/photos/stitching?camera=1"),
            ("GET", "/v1/camera.jpg"),
            ("GET", "/v1/camera.mjpg"),
        ):
            refused = desk.ask(method, route)
            assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
            assert "plug it in" in refused.json["detail"]
        assert daemon.events("camera_away") != []
        desk.put(session_id, "stitching", photo_of(20))  # the item goes on without it
        film(path)
        wait_until(lambda: desk.ask("GET", "/v1/camera.jpg").status == 200, "it is back")
        assert desk.get("/v1/state")["camera"]["ok"]
        assert desk.finish(session_id).json["verdict"] == "authentic"


def test_the_stream_shows_frame_after_frame_and_ends_with_the_client_and_with_the_agent(
    home_with_model: Home, tmp_path: Path
) -> None:
    path = film(tmp_path / "camera.avi", 8.0)
    with running(home_with_model, camera=str(path)) as (desk, daemon):
        links = [http.client.HTTPConnection("127.0.0.1", desk.port, timeout=20) for _ in range(5)]
        streams = []
        for link in links:
            link.request("GET", "/v1/camera.mjpg")
            streams.append(link.getresponse())
        assert [stream.status for stream in streams] == [200] * 4 + [503]
        kind = streams[0].getheader("Content-Type") or ""
        assert kind.startswith("multipart/x-mixed-replace; boundary=")
        started_s = time.monotonic()
        photos = [next_frame(streams[0]) for _ in range(16)]
        assert time.monotonic() - started_s > 0.9, "no more than 15 a second"
        assert len(set(photos)) == 16
        assert read_photo(photos[0], "frame").width_px == 960
        streams[1].close()
        links[1].close()
        wait_until(lambda: opens(desk.port), "who has left makes room")
        assert daemon.end(timeout_s=10) == 0
        for stream in (streams[0], streams[2]):
            stream.read()  # to its end
        for stream, link in zip(streams, links, strict=True):
            stream.close()
            link.close()


def opens(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    link.request("GET", "/v1/camera.mjpg")
    answer = link.getresponse()
    answer.close()
    link.close()
    return answer.status == 200


def next_frame(stream: http.client.HTTPResponse) -> bytes:
    assert stream.readline() == b"--frame\r\n"
    assert stream.readline() == b"Content-Type: image/jpeg\r\n"
    length = int(stream.readline().split()[1])
    assert stream.readline() == b"\r\n"
    data = stream.read(length)
    assert stream.readline() == b"\r\n"
    return data


def test_a_station_without_a_camera_says_so(home_with_model: Home) -> None:
    with running(home_with_model) as (desk, _):
        assert desk.get("/v1/state")["camera"] == {"source": "browser", "ok": True, "why": None}
        session_id = desk.begin("bag")
        for method, route in (
            ("PUT", f"/v1/sessions/{session_id}/photos/logo?camera=1"),
            ("GET", "/v1/camera.jpg"),
            ("GET", "/v1/camera.mjpg"),
        ):
            refused = desk.ask(method, route)
            assert refused.status == 422
            assert "agent.toml" in refused.json["detail"]
