"""The server is killed between any two of a station's requests; what it acknowledged is there when it is back."""

from __future__ import annotations

import hashlib
import signal
import time

import httpx
import pytest


@pytest.fixture
def server(home, server_class):
    running = server_class(home.home)
    yield running
    running.stop()


def test_a_server_killed_between_photo_and_record_goes_on_where_it_was(home, server, station_class, png) -> None:
    with httpx.Client(base_url=server.url) as client:
        station = station_class(client)
        station.enrol(home.code())
        photos = (png(1), png(2))
        record = station.record("bag", photos)
        assert [station.put_photo(photo).status_code for photo in photos] == [201, 201]
        server.stop(signal.SIGKILL)
    server.start()
    with httpx.Client(base_url=server.url) as client:
        station.client = client
        assert [station.put_photo(photo).status_code for photo in photos] == [200, 200]
        assert station.put_record(record).status_code == 201
        server.stop(signal.SIGKILL)
    server.start()
    with httpx.Client(base_url=server.url) as client:
        station.client = client
        assert station.put_record(record).status_code == 200
        cases = client.get("/v1/cases", headers={"Authorization": f"Bearer {home.admin}"}).json()["cases"]
        assert [case["item_id"] for case in cases] == ["bag"]


def test_a_photo_cut_off_half_way_leaves_nothing_that_counts(home, server, station_class, png) -> None:
    data = png(3).ljust(4 * 1024 * 1024, b"\0")
    path = f"/v1/photos/{hashlib.sha256(data).hexdigest()}"
    with httpx.Client(base_url=server.url) as client:
        station = station_class(client)
        station.enrol(home.code())
        headers = {"Authorization": f"Bearer {station.token('PUT', path, data)}"}

        def half():
            yield data[: len(data) // 2]
            for _ in range(100):  # until the server has begun to write
                if list(home.home.glob("blobs/*/.*.tmp")):
                    break
                time.sleep(0.02)
            server.stop(signal.SIGKILL)
            yield data[len(data) // 2 :]

        with pytest.raises(httpx.TransportError):
            client.put(path, content=half(), headers=headers)
    server.start()
    with httpx.Client(base_url=server.url) as client:
        station.client = client
        assert station.send("HEAD", path).status_code == 404
        assert station.put_photo(data).status_code == 201
