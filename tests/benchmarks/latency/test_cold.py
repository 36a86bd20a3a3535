from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.latency.cold import first_line, make_home, starts
from benchmarks.latency.photos import Ring
from benchmarks.latency.results import read_run
from benchmarks.programs import Programs, wait_for
from edge_agent.config import Config, read_config
from runtime.contracts.errors import StationFault


def test_the_clock_stops_at_the_first_line_and_not_at_the_end_of_the_process() -> None:
    reply = first_line([sys.executable, "-c", "import time; print('yes', flush=True); time.sleep(1)"])
    assert 1e6 < reply.done_ns - reply.started_ns < 9e8
    assert reply.rss_mb > 5
    assert reply.cpu_ns > 1e6


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "pass", "print('yes'); raise SystemExit(3)"])
def test_a_program_that_prints_nothing_or_fails_gives_no_figure(program: str) -> None:
    with pytest.raises(StationFault, match="printed nothing"):
        first_line([sys.executable, "-c", program])


def test_programs_take_turns_on_the_same_photo_and_a_failure_is_noted(
    tmp_path: Path, photo_of: Callable[..., bytes]
) -> None:
    ring = Ring(tmp_path / "shown", [{"logo": photo_of(120)}])
    told = "import sys; open(sys.argv[1], 'a').write(' '.join(sys.argv[2:]) + '\\n'); print('yes')"
    commands = {
        name: [sys.executable, "-c", told, str(tmp_path / name), "{item}", "{view}", "{photo}"] for name in ("a", "b")
    }
    commands["c"] = [sys.executable, "-c", "pass"]
    played = starts(commands, ring, 2, warm_up=1, seed=1, between=lambda: None)
    lines = (tmp_path / "a").read_text().splitlines()
    assert lines == (tmp_path / "b").read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [[f"cold-{number}", "logo"] for number in range(3)]
    assert len(played["a"].taken) == len(played["b"].taken) == 2
    assert not played["c"].taken
    assert len(played["c"].failed) == 3


def test_the_agent_has_a_port_of_its_own_for_its_desk(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    bundle, programs = tiny_bundle(tmp_path / "bundle"), Programs(tmp_path / "logs")
    try:
        homes = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            homes.append(make_home(bundle, tmp_path / name, programs))
            programs.start(name, "touchstone-agent", "run", "--home", homes[-1])
        ports = [read_config(home / "agent.toml").desk_port for home in homes]
        for port in ports:
            wait_for(f"the page on port {port}", lambda port=port: answers(port), timeout_s=20)
    finally:
        for name in ("agent", "server", "one", "other"):
            programs.stop(name)
    assert len({*ports, Config().desk_port}) == 3


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            return page.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_the_agent_is_measured_from_the_start_of_its_process_on_a_home_that_the_real_commands_made(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    out, bundle = tmp_path / "run.jsonl", tiny_bundle(tmp_path / "bundle")
    arguments = ["--bundle", str(bundle), "--scenario", "cold", "--work", str(tmp_path), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "benchmarks.latency.cli", "run", *arguments], check=True, timeout=300)
    run = read_run(out)
    agent, bare = run.find("cold", "touchstone"), run.find("cold", "bare-script")
    assert agent is not None
    assert bare is not None
    assert len(agent.latencies_ms) == len(bare.latencies_ms) == 12
    assert 0 <= agent.figures["idle_cpu_percent"] < 50
    assert 20 < agent.figures["idle_rss_mb"] < 500
    assert 20 < bare.peak_rss_mb < 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "run.jsonl"]
