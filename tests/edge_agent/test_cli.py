"""The command line: light, clear, and never a traceback for a mistake of the user's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.cli import COMMANDS, main, parser
from edge_agent.config import Config, read_config
from edge_agent.home import Home
from runtime.contracts.codec import decode
from runtime.contracts.errors import StationFault
from runtime.contracts.records import Record
from tests.edge_agent.rigs import REPOSITORY, agent, environment_without_network, make_home


@pytest.fixture
def photos(tmp_path: Path, photo_of: Callable[..., bytes]) -> Callable[[int], list[Path]]:
    def make(red: int) -> list[Path]:
        paths = [tmp_path / str(red) / f"{view}.jpg" for view in ("logo", "stitching")]
        for seed, path in enumerate(paths):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(photo_of(red, seed=seed))
        return paths

    return make


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([*command, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 100


@pytest.mark.parametrize(
    ("red", "shown"), [(20, "confirmed (authentic)"), (140, "sent to an expert"), (220, "not confirmed (suspect)")]
)
def test_a_scan_shows_what_a_person_should_see_without_any_network(
    home_with_model: Home, photos: Callable[[int], list[Path]], red: int, shown: str
) -> None:
    arguments = ("scan", *photos(red), "--item", "bag", "--home", home_with_model.root)
    done = agent(*arguments, env=environment_without_network())
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert "fake" not in done.stdout
    again = agent(*arguments)
    assert again.stdout.startswith("already scanned at ")
    assert shown in again.stdout


def test_a_scan_prints_its_record_as_json(home_with_model: Home, photos: Callable[[int], list[Path]]) -> None:
    listing = home_with_model.root / "listing.json"
    listing.write_text('{"price": 12.5, "age": null}')
    done = agent("scan", *photos(20), "--item", "bag", "--listing", listing, "--json", "--home", home_with_model.root)
    record = decode(Record, json.loads(done.stdout), "stdout")
    assert record.verdict == "authentic"
    assert record.listing == {"price": 12.5, "age": None}
    assert [view.view for view in record.views] == ["logo", "stitching"]


def test_photos_may_be_given_a_view_and_others_fall_back_to_photo(
    home_with_model: Home, photos: Callable[[int], list[Path]]
) -> None:
    logo, stitching = photos(20)
    other = logo.with_name("IMG_1234.jpg")
    other.write_bytes(logo.read_bytes())
    done = agent(
        "scan", other, "--view", f"logo={logo}", "--view", f"stitching={stitching}", "--view", f"logo={stitching}",
        "--item", "bag", "--json", "--home", home_with_model.root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [view["view"] for view in json.loads(done.stdout)["views"]] == ["logo", "logo", "photo", "stitching"]


def test_mistakes_are_one_line_and_exit_code_two(
    home_with_model: Home, tmp_path: Path, photos: Callable[[int], list[Path]]
) -> None:
    torn = tmp_path / "logo.jpg"
    torn.write_bytes(photos(20)[0].read_bytes()[:500])
    listing = tmp_path / "listing.json"
    listing.write_text('{"price": "cheap"}')
    good = photos(20)[0]
    home = home_with_model.root
    for arguments, says in (
        (["scan", torn, "--item", "i", "--home", home], "photo logo: the file is cut short"),
        (["scan", tmp_path / "none.jpg", "--item", "i", "--home", home], "cannot be read"),
        (["scan", tmp_path, "--item", "i", "--home", home], "cannot be read"),
        (["scan", "--item", "i", "--home", home], "at least one photo"),
        (["scan", good, "--item", "a/b", "--home", home], "item id"),
        (["scan", good, "--item", "../../etc/passwd", "--home", home], "item id"),
        (["scan", good, "--item", "x" * 10_240, "--home", home], "item id"),
        (["scan", good, "--item", "bag-\udcff", "--home", home], "valid text"),
        (["scan", "--view", f"logo-\udcff={good}", "--item", "i", "--home", home], "valid text"),
        (["scan", "--view", "logo", "--item", "i", "--home", home], "expected NAME=PHOTO"),
        (["scan", good, "--item", "i", "--listing", listing, "--home", home], "expected a float"),
        (["scan", good, "--item", "i", "--home", tmp_path / "new"], "not enrolled"),
        (["status", "--home", tmp_path / "new"], "not enrolled"),
        (["run", "--home", tmp_path / "new"], "not enrolled"),
        (["enrol", "--server", "http://far.example", "--code", "x", "--home", tmp_path / "new"], "expected https://"),
    ):
        done = agent(*arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("touchstone-agent: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert says in done.stderr
        assert done.stdout == ""
    status = json.loads(agent("status", "--json", "--home", home).stdout)
    assert status["outbox"]["recorded"] == 0


def test_what_the_disk_refuses_is_one_line_and_exit_code_two(home_with_model: Home) -> None:
    home = home_with_model
    home.lock_file.mkdir()
    done = agent("run", "--home", home.root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"touchstone-agent: {home.lock_file}: Is a directory; check the disk and its permissions\n"


def test_an_error_that_no_command_knows_is_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "station.db")

    monkeypatch.setattr("edge_agent.commands.status.require_identity", refuse)
    assert main(["status", "--home", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "touchstone-agent: station.db: Permission denied (errno 13); check its permissions\n"
    )


def test_a_station_without_a_model_says_what_to_do(tmp_path: Path, photos: Callable[[int], list[Path]]) -> None:
    make_home(tmp_path / "station")
    done = agent("scan", *photos(20), "--item", "i", "--home", tmp_path / "station")
    assert done.returncode == 2
    assert "publish a release" in done.stderr


def test_status_shows_the_model_and_the_outbox(home_with_model: Home, photos: Callable[[int], list[Path]]) -> None:
    agent("scan", *photos(20), "--item", "a", "--home", home_with_model.root)
    agent("scan", *photos(140), "--item", "b", "--home", home_with_model.root)
    done = agent("status", "--home", home_with_model.root)
    assert "2 recorded = 0 acked + 2 pending (0 parked); 1 cases, 1 of them waiting" in done.stdout
    assert "tiny release 1, ort-cpu-float32" in done.stdout
    assert "11" * 32 not in done.stdout


@pytest.mark.parametrize("module", ["edge_agent.commands.scan", "edge_agent.commands.status"])
def test_the_light_commands_import_nothing_of_the_network(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in ('httpx', 'tuf', 'jwt', 'torch', 'sync_server') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_asking_the_daemon_loads_little() -> None:
    """A conveyor calls ``scan`` for each item, so that what it imports is what it costs."""
    code = (
        "import sys; from edge_agent import cli, desk; from edge_agent.commands import scan; cli.parser(); "
        "heavy = ('http.client', 'ssl', 'email', 'sqlite3', 'asyncio', 'numpy', 'edge_agent.outbox', "
        "'runtime.contracts.sync', 'runtime.contracts.bundle'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_config_has_defaults_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    assert read_config(path) == Config()
    path.write_text("uplink_every_s = 3\nthreads = 2\nserver = 'https://a.example'\n")
    assert read_config(path) == Config(uplink_every_s=3.0, threads=2, server="https://a.example")
    for camera in (0, "/dev/video2"):
        path.write_text(f"camera = {camera!r}\n")
        assert read_config(path).camera == camera
    for text, says in (
        ("uplink_evry_s = 3", "unknown key 'uplink_evry_s'"),
        ("uplink_every_s = 'often'", "a number above 0"),
        ("uplink_every_s = 0", "a number above 0"),
        ("uplink_every_s = nan", "a number above 0"),
        ("threads = -1", "0 or more"),
        ("threads = true", "0 or more"),
        ("server = ''", "not empty"),
        ("camera = -1", "not empty"),
        ("camera = ''", "not empty"),
        ("desk_host = 7", "expected a text that is not empty, got 7"),
        ("desk_pin = 31337", "got something else"),
        ("= broken", "expected TOML"),
    ):
        path.write_text(text)
        with pytest.raises(StationFault, match=says):
            read_config(path)


@pytest.mark.parametrize("command", [["run"], ["run", "--once"], ["status"]])
def test_an_unknown_key_in_the_config_stops_the_agent_in_one_line(home_with_model: Home, command: list[str]) -> None:
    file = home_with_model.config_file
    file.write_text(f"{file.read_text()}\nuplink_evry_s = 3\n")
    done = agent(*command, "--home", home_with_model.root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"touchstone-agent: {file.name}: unknown key 'uplink_evry_s'")
    assert done.stderr.count("\n") == 1
