"""What a station gets: the agent's extra in a clean environment, and nothing that it does not run."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from edge_agent.cli import COMMANDS

REPOSITORY = Path(__file__).parents[2]
UNWANTED = ("torch", "pandas", "mlflow", "fastapi", "sklearn", "matplotlib", "onnx", "sqlalchemy", "scipy")
OF_THE_INSTALLER = ("pip", "setuptools", "wheel")

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def size_mb(site_packages: Path) -> dict[str, float]:
    """Return megabytes by folder or file of an environment, the installer's own left out."""
    sizes: dict[str, float] = {}
    for path in site_packages.rglob("*"):
        name = path.relative_to(site_packages).parts[0]
        if path.is_file() and not name.startswith(OF_THE_INSTALLER):
            sizes[name] = sizes.get(name, 0.0) + path.stat().st_size / 1e6
    return sizes


def test_a_station_installs_only_what_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = REPOSITORY / "constraints.txt"
    run(
        python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", constraints,
        f"{REPOSITORY}[agent]", cwd=tmp_path,
    )  # fmt: skip

    probe = f"import importlib.util as u; print(*[m for m in {UNWANTED!r} if u.find_spec(m)])"
    assert run(python, "-c", probe, cwd=tmp_path).stdout.split() == []

    told = run(tmp_path / "venv" / "bin" / "touchstone-agent", "--help", cwd=tmp_path).stdout
    assert "usage: touchstone-agent" in told
    for command in COMMANDS:
        assert command in told
        run(tmp_path / "venv" / "bin" / "touchstone-agent", command, "--help", cwd=tmp_path)
    # what --help does not load: the engine, the updater, the link to the server, the operator's page
    run(python, "-c", "import edge_agent.agent, edge_agent.desk.serving, runtime.backends.onnxruntime", cwd=tmp_path)

    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sizes = size_mb(tmp_path / "venv" / "lib" / version / "site-packages")
    largest = sorted(sizes, key=lambda name: -sizes[name])[:4]
    with capsys.disabled():
        print(
            f"\nagent installed: {sum(sizes.values()):.0f} MB; largest: "
            + ", ".join(f"{name} {sizes[name]:.0f} MB" for name in largest)
        )
    assert sum(sizes.values()) < 400
