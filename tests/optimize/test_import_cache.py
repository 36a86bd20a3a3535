"""A source is read once, in a process that does not outlive it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from optimize.import_cache import import_once
from optimize.sources.content import content_of
from optimize.sources.imported import Imported, SourceOptions
from optimize.step_cache import StepCache
from runtime.contracts.errors import Unsupported

PX = 32
MODULE = "a_station_model"
NETWORK = """
import torch
from torch import nn

SCALE = 1.0


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 3)

    def forward(self, photo):
        return self.head(self.layers(photo)) * SCALE


def make():
    return Small()


def die():
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        cv2.imwrite(str(path), random.integers(0, 256, (PX, PX, 3), np.uint8))
    return paths


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"{MODULE}.py"
    path.write_text(NETWORK)
    return path


def read(name: str, photos: list[Path], cache: StepCache) -> Imported:
    return import_once(f"{MODULE}:{name}", SourceOptions(px=PX), photos, None, cache)


@pytest.mark.slow
def test_what_a_factory_gives_is_converted_again_only_when_it_or_its_code_has_changed(
    code: Path, photos: list[Path], tmp_path: Path
) -> None:
    cache = StepCache(tmp_path / "cache")
    first, again = read("make", photos, cache), read("make", photos, cache)
    assert again.network == first.network
    assert len(list(cache.folder.iterdir())) == 1
    code.write_text(NETWORK.replace("SCALE = 1.0", "SCALE = 2.0"))
    assert read("make", photos, cache).network != first.network
    assert len(list(cache.folder.iterdir())) == 2


def test_other_weights_and_other_attributes_are_another_model() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5))
    found = [content_of(module)]
    module[1].p = 0.25
    found.append(content_of(module))
    with torch.no_grad():
        module[0].bias += 1e-6
    found.append(content_of(module))
    assert None not in found
    assert len(set(found)) == 3


def test_nobody_can_tell_what_a_module_with_an_open_file_holds(tmp_path: Path) -> None:
    module = nn.Flatten()
    with (tmp_path / "open").open("w") as file:
        module.log = file  # type: ignore[assignment]
        assert content_of(module) is None


def test_a_source_that_crashes_is_refused_and_takes_nobody_along(
    code: Path, photos: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match=f"'{MODULE}:die': reading it crashed"):
        read("die", photos, StepCache(tmp_path / "cache"))


@pytest.mark.slow
def test_torch_stays_out_of_the_process_of_a_build(code: Path, photos: list[Path], tmp_path: Path) -> None:
    script = tmp_path / "build.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from optimize.import_cache import import_once\n"
        "from optimize.sources.imported import SourceOptions\n"
        "from optimize.step_cache import StepCache\n"
        "if __name__ == '__main__':\n"
        f"    photos = [Path(path) for path in {[str(path) for path in photos]!r}]\n"
        f"    import_once('{MODULE}:make', SourceOptions(px={PX}), photos, None, StepCache(Path('cache')))\n"
        "    sys.exit('torch' in sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, script], env={"PYTHONPATH": str(root)}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
