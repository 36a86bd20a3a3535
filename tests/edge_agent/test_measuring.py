"""Variants measured in real child processes. The choice is remembered, and measured anew when the station changes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import Config
from edge_agent.home import Home
from edge_agent.measuring import measure, measured_on
from edge_agent.model_slot import ModelSlot
from edge_agent.outbox import Outbox
from edge_agent.release_book import MEASURED_FACT, Proved, ReleaseBook
from edge_agent.trial import TRIAL_COMMAND
from edge_agent.variant_choice import Measured, Pick, Tried
from runtime.bundle_store import Bundle, open_bundle
from runtime.contracts.errors import StationFault, Unsupported
from runtime.contracts.sync import ReleaseInfo
from runtime.engine import BACKENDS, LIBRARIES
from tests.edge_agent.rigs import REPOSITORY, Daemon, agent, make_home, wait_until
from tests.edge_agent.several_variants import (
    CONFIRMS_NOTHING,
    CRASHING_TRIAL,
    DISAGREES,
    FLOAT,
    ISA_ABSENT,
    NAN,
    SLOW,
    give_variants,
)

NO_TRIAL = (sys.executable, "-c", "import sys; sys.exit('measured again')")
RELEASE = ReleaseInfo(name="tiny", release=1, floor=0)

PutBundle = Callable[..., Bundle]
NewSlot = Callable[..., ModelSlot]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "station")


@pytest.fixture
def outbox(home: Home) -> Any:
    box = Outbox(home.database_file)
    yield box
    box.close()


@pytest.fixture
def put_bundle(home: Home, tiny_bundle: Callable[..., Path]) -> PutBundle:
    """``put_bundle({name: changes, ...}, preferred=name)`` puts a bundle with these variants on the station."""

    def put(variants: Mapping[str, Mapping[str, Any]], *, preferred: str) -> Bundle:
        return give_variants(open_bundle(tiny_bundle(home.bundles / "new")), variants, preferred=preferred)

    return put


@pytest.fixture
def new_slot(home: Home, outbox: Outbox) -> NewSlot:
    """A slot as a start of the agent makes one."""

    def make(*, command: Sequence[str] = TRIAL_COMMAND, **settings: Any) -> ModelSlot:
        return ModelSlot(
            home=home,
            book=ReleaseBook(outbox),
            config=Config(threads=1, **settings),
            stopping=threading.Event(),
            trial_command=command,
        )

    return make


def commit(slot: ModelSlot, bundle: Bundle, *ranked: Pick, on: Mapping[str, Any] | None = None) -> None:
    """Make the station remember a measurement of the bundle, taken where ``on`` was different from now."""
    measured = Measured(
        on=dataclasses.replace(measured_on(bundle, Config(threads=1)), **(on or {})),
        tried=tuple(Tried(variant=pick.variant, why_not=None, latency_ms={pick.schedule: 1.0}) for pick in ranked),
        ranked=ranked,
    )
    slot.book.commit(Proved(bundle_id=bundle.bundle_id, release=RELEASE, variant=ranked[0].variant), measured)


def running(slot: ModelSlot) -> Pick:
    inspector = slot.require().inspector
    return Pick(variant=inspector.variant.name, schedule=inspector.schedule)


def status(home: Home) -> dict[str, Any]:
    done = agent("status", "--json", "--home", home.root)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_variant_is_tried_by_itself_and_the_fastest_that_agrees_is_chosen(
    put_bundle: PutBundle, new_slot: NewSlot, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "abacus", "runtime.backends.abacus")  # type: ignore[attr-defined]
    monkeypatch.setitem(LIBRARIES, "abacus", "abacus")  # type: ignore[attr-defined]
    bundle = put_bundle(
        {
            "slow": SLOW,
            "crashes": {},
            "disagrees": DISAGREES,
            "nan": NAN,
            "isa": ISA_ABSENT,
            "abacus": {"engine": "abacus"},
            "newer": {"engine": "of-2031"},
            "undecided": CONFIRMS_NOTHING,
            FLOAT: {},
        },
        preferred="slow",
    )
    slot = new_slot(command=CRASHING_TRIAL)
    slot.offer(bundle.folder, RELEASE, bundle.bundle_id)
    assert running(slot).variant == FLOAT
    assert slot.book.proved()[0].variant == FLOAT

    state = status(home)
    assert (state["variant"], state["schedule"]) == (FLOAT, running(slot).schedule)
    found = {one["variant"]: one for one in state["variants"]}
    assert next(iter(found)) == "slow", "the preferred one is tried first"
    assert {name: one["why_not"] for name, one in found.items() if name not in ("disagrees", "nan")} == {
        "slow": None,
        "crashes": "the trial was killed by signal 11",
        "isa": "this CPU lacks no_such_flag|nor_this",
        "abacus": "engine abacus is not installed",
        "newer": "this program does not know the engine of-2031",
        "undecided": None,
        FLOAT: None,
    }
    assert "the builder had 0.36" in found["disagrees"]["why_not"]
    assert "P(counterfeit) is None" in found["nan"]["why_not"]
    for name in ("slow", FLOAT):
        assert set(found[name]["latency_ms"]) == {"each", "together"}
        assert 20 < found[name]["resident_mib"] < 1000
    assert min(found[FLOAT]["latency_ms"].values()) < min(found["slow"]["latency_ms"].values())

    shown = agent("status", "--home", home.root).stdout
    assert f"\n  {FLOAT} (runs): each " in shown
    assert "\n  isa: this CPU lacks no_such_flag|nor_this\n" in shown
    assert "\n  crashes: the trial was killed by signal 11\n" in shown


def test_a_bundle_of_which_no_variant_agrees_is_refused_with_the_reasons_of_all(
    put_bundle: PutBundle, new_slot: NewSlot
) -> None:
    bundle = put_bundle({"crashes": {}, "nan": NAN, "isa": ISA_ABSENT}, preferred="nan")
    slot = new_slot(command=CRASHING_TRIAL)
    with pytest.raises(Unsupported, match=r"nan: golden .*; crashes: .*signal 11; isa: this CPU lacks"):
        slot.offer(bundle.folder, RELEASE, bundle.bundle_id)
    assert slot.current is None
    assert slot.book.is_refused(bundle.bundle_id, RELEASE)


def test_only_the_variant_that_the_config_names_is_tried(put_bundle: PutBundle) -> None:
    bundle = put_bundle({"slow": SLOW, FLOAT: {}}, preferred=FLOAT)
    measured = measure(bundle, Config(threads=1, variant="slow"), stopping=threading.Event())
    assert [pick.variant for pick in measured.ranked] == ["slow"]
    assert [one.variant for one in measured.tried] == ["slow"]
    none = measure(bundle, Config(variant="slwo"), stopping=threading.Event(), command=NO_TRIAL)
    assert none.ranked == ()
    assert none.tried[0].why_not == f"the bundle has slow, {FLOAT}; correct agent.toml"


def test_a_restart_loads_what_was_chosen_and_measures_nothing(put_bundle: PutBundle, new_slot: NewSlot) -> None:
    bundle = put_bundle({FLOAT: {}, "other": {}}, preferred=FLOAT)
    commit(new_slot(), bundle, Pick(variant="other", schedule="together"))
    slot = new_slot(command=NO_TRIAL)
    slot.restore(None)
    assert running(slot) == Pick(variant="other", schedule="together")
    slot.measure_again()
    assert running(slot) == Pick(variant="other", schedule="together")


@pytest.mark.parametrize(
    "on",
    [
        {"engines": {"onnxruntime": "onnxruntime-0.1"}},
        {"driver": "NVRM version: 1"},
        {"cpu": "another"},
        {"cpu_flags": ("fpu",)},
        {"cores": 99},
        {"threads": 7},
        {"variant": FLOAT},
    ],
    ids=lambda on: next(iter(on)),
)
def test_whatever_changes_the_station_scans_at_once_and_measures_later(
    put_bundle: PutBundle, new_slot: NewSlot, on: Mapping[str, Any]
) -> None:
    bundle = put_bundle({FLOAT: {}, "other": {}}, preferred=FLOAT)
    slot = new_slot(command=NO_TRIAL)
    commit(slot, bundle, Pick(variant="other"), on=on)
    slot.restore(None)
    assert running(slot).variant == "other"
    with pytest.raises(StationFault, match="measured again"):
        slot.measure_again()


def test_what_is_measured_anew_is_run_and_remembered(put_bundle: PutBundle, new_slot: NewSlot, home: Home) -> None:
    bundle = put_bundle({"slow": SLOW, FLOAT: {}}, preferred="slow")
    slot = new_slot()
    commit(slot, bundle, Pick(variant="slow"), on={"cpu": "the one before"})
    slot.restore(None)
    assert running(slot) == Pick(variant="slow")
    slot.measure_again()
    chosen = running(slot)
    assert chosen.variant == FLOAT
    assert slot.book.proved()[0].variant == FLOAT
    assert status(home)["variant"] == FLOAT
    restarted = new_slot(command=NO_TRIAL)
    restarted.restore(None)
    restarted.measure_again()
    assert running(restarted) == chosen


def test_a_station_from_before_variants_were_measured_goes_on_and_measures_later(
    put_bundle: PutBundle, new_slot: NewSlot, outbox: Outbox
) -> None:
    bundle = put_bundle({FLOAT: {}}, preferred=FLOAT)
    slot = new_slot()
    slot.book.commit(Proved(bundle_id=bundle.bundle_id, release=RELEASE, variant=FLOAT))
    slot.restore(None)
    assert running(slot) == Pick(variant=FLOAT)
    slot.measure_again()
    assert slot.book.measured(bundle.bundle_id) is not None
    outbox.set_facts({MEASURED_FACT: '{"measured": "in another form"}'})
    restarted = new_slot()
    restarted.restore(None)
    assert running(restarted) == Pick(variant=FLOAT)


def test_an_engine_that_fails_to_load_at_a_start_makes_way_for_the_next_and_status_says_why(
    put_bundle: PutBundle, new_slot: NewSlot, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = put_bundle({FLOAT: {}, "gone": {"engine": "of-2031"}, "isa": ISA_ABSENT}, preferred=FLOAT)
    commit(new_slot(), bundle, Pick(variant="gone"), Pick(variant="isa"), Pick(variant=FLOAT, schedule="together"))
    slot = new_slot(command=NO_TRIAL)
    slot.restore(None)
    assert running(slot) == Pick(variant=FLOAT, schedule="together")
    slot.measure_again()
    state = status(home)
    assert (state["variant"], state["schedule"]) == (FLOAT, "together")
    assert state["passed_over"]["gone"].startswith("engine 'of-2031': this program knows onnxruntime")
    assert "which this CPU lacks" in state["passed_over"]["isa"]
    shown = agent("status", "--home", home.root).stdout
    assert "\n  gone: each 1.0 ms an item; not loaded at the last start: engine 'of-2031'" in shown
    assert f"\n  {FLOAT} (runs): together 1.0 ms an item\n" in shown
    assert '"event": "variant_passed_over"' in capsys.readouterr().err


def test_on_a_changed_station_a_variant_that_never_ran_here_must_agree_before_it_is_loaded(
    put_bundle: PutBundle, new_slot: NewSlot
) -> None:
    bundle = put_bundle({"isa": ISA_ABSENT, "disagrees": DISAGREES, FLOAT: {}}, preferred="isa")
    slot = new_slot(command=NO_TRIAL)
    commit(slot, bundle, Pick(variant="isa"), on={"cpu": "the one before"})
    slot.restore(None)
    assert running(slot) == Pick(variant=FLOAT)
    loaded = slot.book.loaded()
    assert loaded is not None
    assert set(loaded.passed_over) == {"isa", "disagrees"}


def test_on_an_unchanged_station_what_was_refused_is_not_loaded_for_want_of_anything_better(
    put_bundle: PutBundle, new_slot: NewSlot
) -> None:
    bundle = put_bundle({"gone": {"engine": "of-2031"}, FLOAT: {}}, preferred=FLOAT)
    commit(new_slot(), bundle, Pick(variant="gone"))
    slot = new_slot()
    slot.restore(None)
    assert slot.current is None


def test_a_variant_that_the_config_names_anew_is_loaded_at_the_next_start_if_it_agrees(
    put_bundle: PutBundle, new_slot: NewSlot
) -> None:
    bundle = put_bundle({"disagrees": DISAGREES, "other": {}, FLOAT: {}}, preferred=FLOAT)
    commit(new_slot(), bundle, Pick(variant=FLOAT), Pick(variant="other", schedule="together"))
    remembered = new_slot(variant="other")
    remembered.restore(None)
    assert running(remembered) == Pick(variant="other", schedule="together")
    disagreeing = new_slot(variant="disagrees")
    disagreeing.restore(None)
    assert disagreeing.current is None


@pytest.mark.parametrize(("changes", "goes_on"), [({}, True), (DISAGREES, False)], ids=["agrees", "disagrees"])
def test_where_nothing_passes_any_more_what_runs_goes_on_only_if_it_agrees(
    put_bundle: PutBundle, new_slot: NewSlot, home: Home, changes: Mapping[str, Any], goes_on: bool
) -> None:
    bundle = put_bundle({"only": changes}, preferred="only")
    slot = new_slot(command=NO_TRIAL)
    commit(slot, bundle, Pick(variant="only"), on={"engines": {}})
    slot.restore(None)
    assert slot.current is not None
    with pytest.raises(StationFault, match="no variant passes here now: only: the trial ended"):
        slot.measure_again()
    assert (slot.current is not None) == goes_on
    assert "measured again" in status(home)["variants"][0]["why_not"]
    restarted = new_slot(command=NO_TRIAL)
    restarted.restore(None)
    assert (restarted.current is not None) == goes_on
    if goes_on:
        with pytest.raises(StationFault):
            restarted.measure_again()


def test_the_daemon_measures_without_a_server_while_it_scans_and_a_scan_uses_its_choice(
    home_with_model: Home, photo_of: Callable[..., bytes]
) -> None:
    home = home_with_model
    box = Outbox(home.database_file)
    box.set_facts({MEASURED_FACT: '{"measured": []}'})
    box.close()
    daemon = Daemon(home.root)
    daemon.ready_line()
    wait_until(lambda: daemon.events("measured_again"), "it has measured")
    assert daemon.end() == 0
    chosen = status(home)
    assert chosen["variants"][0]["why_not"] is None
    photo = home.root / "logo.jpg"
    photo.write_bytes(photo_of(20))
    done = agent("scan", photo, "--item", "bag", "--json", "--home", home.root)
    assert json.loads(done.stdout)["model"]["variant"] == chosen["variant"]
    assert status(home)["schedule"] == chosen["schedule"]


def test_a_new_version_of_an_engine_changes_what_a_measurement_holds_for(
    put_bundle: PutBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = put_bundle({FLOAT: {}, "abacus": {"engine": "abacus"}}, preferred=FLOAT)
    monkeypatch.setitem(BACKENDS, "abacus", "runtime.backends.abacus")  # type: ignore[attr-defined]
    monkeypatch.setitem(LIBRARIES, "abacus", "abacus")  # type: ignore[attr-defined]
    without = measured_on(bundle, Config())
    assert list(without.engines) == ["onnxruntime"]
    assert without.engines["onnxruntime"].startswith("onnxruntime-")
    site = tmp_path / "site"
    (site / "abacus").mkdir(parents=True)
    (site / "abacus" / "__init__.py").touch()
    (site / "abacus_gpu-1.0.dist-info").mkdir()
    (site / "abacuses-9.9.dist-info").mkdir()
    monkeypatch.syspath_prepend(site)
    first = measured_on(bundle, Config())
    assert first.engines["abacus"] == "abacus_gpu-1.0"
    (site / "abacus_gpu-1.0.dist-info").rename(site / "abacus_gpu-1.1.dist-info")
    assert measured_on(bundle, Config()) != first
    assert measured_on(bundle, Config()) == measured_on(bundle, Config())


def test_looking_whether_the_station_has_changed_loads_no_engine(put_bundle: PutBundle) -> None:
    bundle = put_bundle({FLOAT: {}, "openvino": {"engine": "openvino"}}, preferred=FLOAT)
    code = (
        "import sys\nfrom pathlib import Path\nfrom edge_agent.config import Config\n"
        "from edge_agent.measuring import measured_on\nfrom runtime.bundle_store import open_bundle\n"
        f"measured_on(open_bundle(Path({str(bundle.folder)!r})), Config())\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"onnxruntime", "openvino", "importlib.metadata", "httpx"}
