"""What a figure says about the machine that it was measured on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fingerprint import governor


def test_every_governor_of_the_cores_is_told_once(tmp_path: Path) -> None:
    assert governor(tmp_path) == ""
    for core, name in enumerate(("powersave", "performance", "powersave")):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{name}\n")
    assert governor(tmp_path) == "performance, powersave"
