"""The table of bad updates: each is refused with its reason at the server, and scans go on all the while."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.config import MIB
from edge_agent.reporting import station_report
from runtime.bundle_store import open_bundle
from runtime.contracts.durable import sha256_hex
from runtime.contracts.errors import TouchstoneError
from tests.edge_agent.repository import Repository
from tests.edge_agent.rigs import wait_until
from tests.edge_agent.several_variants import FLOAT, ISA_ABSENT, give_variants
from tests.edge_agent.update_rig import Rig

MakeBundle = Callable[[], Path]
Publish = Callable[[Repository, MakeBundle], None]


def trial_in_which(statements: str) -> tuple[str, ...]:
    """A trial, limits and all, in which loading the model does this."""
    code = (
        "import os, sys, tempfile\nimport runtime.inspector\nfrom edge_agent.trial import main\n"
        f"def load(bundle, **options):\n    {statements}\n"
        "runtime.inspector.Inspector.open = load\nsys.exit(main(sys.argv[1:]))"
    )
    return (sys.executable, "-c", code)


def good(repository: Repository, make: MakeBundle) -> None:
    repository.publish(make(), release=2)


def corrupt(repository: Repository, make: MakeBundle) -> None:
    folder = make()
    repository.publish(folder, release=2)
    sha256 = sha256_hex((folder / "manifest.json").read_bytes())
    repository.files[sha256] = repository.files[sha256].replace(b'"tiny"', b'"evil"')


def unsigned(repository: Repository, make: MakeBundle) -> None:
    repository.assigned = "tiny/2/manifest.json"


def wrong_key(repository: Repository, make: MakeBundle) -> None:
    repository.keys["targets"] = CryptoSigner.generate_ed25519()
    repository.publish(make(), release=2)


def expired(repository: Repository, make: MakeBundle) -> None:
    repository.lives["timestamp"] = timedelta(minutes=-1)
    repository.publish(make(), release=2)


def older(repository: Repository, make: MakeBundle) -> None:
    repository.publish(make(), release=1)


def wrong_isa(repository: Repository, make: MakeBundle) -> None:
    bundle = give_variants(open_bundle(make()), {"other": ISA_ABSENT}, preferred="other")
    repository.publish(bundle.folder, release=2)


def less_accurate(repository: Repository, make: MakeBundle) -> None:
    folder = make()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["golden"][0]["p_counterfeit"][FLOAT] = 0.999
    (folder / "manifest.json").write_text(json.dumps(manifest))
    repository.publish(folder, release=2)


@dataclass(frozen=True, kw_only=True)
class Bad:
    """How it is published, what differs on the station, a part of the reason, and whether a release is refused for it.

    What is not signed as it should be is no release: it is told, not remembered.
    """

    publish: Publish
    says: str
    state: str = "refused"
    settings: Mapping[str, Any] = field(default_factory=dict)


def in_trial(statements: str, says: str, **settings: Any) -> Bad:
    """A release that does this when it is loaded."""
    return Bad(publish=good, says=says, settings={"trial_command": trial_in_which(statements), **settings})


BAD = {
    "corrupt": Bad(publish=corrupt, says="another manifest than was signed", state="running"),
    "unsigned": Bad(publish=unsigned, says="no offline key signed it", state="running"),
    "wrong key": Bad(publish=wrong_key, says="targets was signed by 0/1 keys", state="running"),
    "expired": Bad(publish=expired, says="expired; updates wait for fresh metadata", state="running"),
    "older": Bad(publish=older, says="lies below the floor 5", state="running"),
    "wrong ISA": Bad(publish=wrong_isa, says="this CPU lacks no_such_flag|nor_this"),
    "slower": Bad(publish=good, says="ms an item, at most 0", settings={"max_latency_ms": 1e-6}),
    "less accurate": Bad(publish=less_accurate, says="the builder had 0.999"),
    "crashes on load": in_trial("os.abort()", "killed by signal 6"),
    "hangs": in_trial("while True: pass", "longer than 1 s", trial_timeout_s=1),
    "eats memory": in_trial("bytearray(1 << 45)", "needs more than 8192 MiB of memory"),
    "fills the disk": in_trial(
        "\n    while True: open(tempfile.mkstemp()[1], 'wb').write(bytes(500_000))",
        "wrote more than 1 MiB to the disk",
        trial_max_disk_bytes=MIB,
    ),
    "fills the disk with one file": in_trial(
        "open(tempfile.mkstemp()[1], 'wb').write(bytes(3 << 20))",
        "File too large or wrote more than 1 MiB to the disk",
        trial_max_disk_bytes=MIB,
    ),
    "talks without end": in_trial(
        "\n    while True: sys.stdout.write('nonsense')", "the trial ", trial_max_disk_bytes=MIB
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_update_is_refused_with_its_reason_at_the_server_and_scans_go_on(
    rig: Rig,
    repository: Repository,
    tmp_path: Path,
    tiny_bundle: Callable[..., Path],
    photo_of: Callable[..., bytes],
    name: str,
) -> None:
    bad, runs = BAD[name], 5 if name == "older" else 1
    repository.publish(tiny_bundle(tmp_path / "good"), release=runs, floor=runs)
    assert rig.updates.step()
    rig.restart(**bad.settings)
    bad.publish(repository, lambda: tiny_bundle(tmp_path / "bad", bias=0.3))
    error = ""
    with rig.scanning(photo_of) as records:
        wait_until(lambda: records, "scans have begun")
        try:
            rig.updates.step()
        except TouchstoneError as failure:
            error = str(failure)
        after = len(records)
        wait_until(lambda: len(records) > after, "scans go on")
    assert {record.model.release for record in records} == {runs}
    report = station_report(
        rig.slot.require().ref, rig.slot.update_state(), rig.outbox.tally(), error=error, clock=None
    )
    assert (report.release, report.state) == (runs, bad.state)
    for text in (report.detail, error):
        assert any(says in text for says in bad.says.split(" or ")), text
    assert [refusal.release for refusal in rig.slot.book.refusals()] == ([2] if bad.state == "refused" else [])
    assert not list(rig.home.bundles.glob(".*")), "what a trial wrote is gone"
    rig.restart()
    assert rig.running() == runs
    assert rig.scan(photo_of(20)).verdict == "authentic"
