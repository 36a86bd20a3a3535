"""Fixtures of the agent's tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edge_agent.admission import keep_admission
from edge_agent.config import Config
from edge_agent.device_key import DeviceKey
from edge_agent.home import Home
from edge_agent.measuring import measured_on
from edge_agent.outbox import Outbox
from edge_agent.release_book import Proved, ReleaseBook
from edge_agent.server_link import ServerLink
from edge_agent.variant_choice import Measured, Pick, Tried
from runtime.bundle_store import open_bundle
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import RealServer, ServiceManager, make_home, scripted_server
from tests.edge_agent.update_rig import Rig


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A real sync server, one for each file of tests."""
    started = RealServer.start(tmp_path_factory.mktemp("real"))
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def link_to() -> Iterator[Callable[..., ServerLink]]:
    """``link_to(url, ...)`` makes a link that is closed when the test ends."""
    with ExitStack() as stack:

        def make(url: str, **more: Any) -> ServerLink:
            link = ServerLink(url, **more)
            stack.callback(link.close)
            return link

        yield make


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    """What systemd is to a service: it hears what the service says of itself."""
    listening = ServiceManager()
    yield listening
    listening.close()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "station.db")
    try:
        yield box
    finally:
        box.close()


@pytest.fixture
def home_with_model(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Home:
    """A station with a signed and committed model, and no server."""
    return give_model(make_home(tmp_path / "station"), tiny_bundle)


def give_model(home: Home, tiny_bundle: Callable[..., Path]) -> Home:
    """Give a station a signed model that it has measured and committed, as if it had updated from a server once."""
    repository = Repository()
    folder = tiny_bundle(home.bundles / "new")
    bundle = open_bundle(folder)
    release = repository.publish(folder, release=1)
    keep_admission(folder, 1, {"targets.json": repository.metadata["1.targets.json"]})
    home.root_metadata_file.write_bytes(repository.root)
    DeviceKey.load_or_create(home)
    folder.rename(home.bundles / bundle.bundle_id)
    box = Outbox(home.database_file)
    measured = Measured(
        on=measured_on(bundle, Config()),
        tried=(Tried(variant="ort-cpu-float32", why_not=None, latency_ms={"each": 1.0, "together": 2.0}),),
        ranked=(Pick(variant="ort-cpu-float32"),),
    )
    ReleaseBook(box).commit(Proved(bundle_id=bundle.bundle_id, release=release, variant="ort-cpu-float32"), measured)
    box.close()
    return home


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def rig(tmp_path: Path, outbox: Outbox, repository: Repository, link_to: Callable[..., ServerLink]) -> Iterator[Rig]:
    with scripted_server(repository, lambda: repository.clock()) as (url, _):
        home = make_home(tmp_path / "station", server=url)
        home.root_metadata_file.write_bytes(repository.root)
        yield Rig(home, outbox, link_to(url), repository.root)


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> Callable[[float], Path]:
    return lambda bias: tiny_bundle(tmp_path / f"bundle {bias}", bias=bias)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB of its own."""
    place = tmp_path / "small-disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
