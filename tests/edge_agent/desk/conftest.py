"""A desk that the tests of one file share, where they leave nothing that another would trip over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import build_tiny_bundle
from tests.edge_agent.conftest import give_model
from tests.edge_agent.desk.rigs import Client, running
from tests.edge_agent.rigs import make_home


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = give_model(make_home(tmp_path_factory.mktemp("desk") / "station"), build_tiny_bundle)
    with running(home) as (client, _):
        yield client


@pytest.fixture
def desk(shared_desk: Client) -> Client:
    """A running desk without unfinished items."""
    for one in shared_desk.get("/v1/sessions")["sessions"]:
        assert shared_desk.ask("DELETE", f"/v1/sessions/{one['session_id']}").status == 204
    return shared_desk
