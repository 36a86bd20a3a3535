"""docs/station.md says what the code does: every event, metric, check, setting and command is there, and no other."""

from __future__ import annotations

import ast
import re

import pytest

from edge_agent.cli import COMMANDS
from edge_agent.config_file import settings_table
from edge_agent.doctor.checks import CHECKS
from edge_agent.metrics import COUNTERS, GAUGES, LATENCIES, SCORES
from edge_agent.supervisor import CRASHED, EVENTS
from tests.edge_agent.rigs import REPOSITORY

PAGE = (REPOSITORY / "docs" / "station.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    """Return the names in backquotes that begin the rows of the table under a heading."""
    (section,) = re.findall(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", PAGE)
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def noted() -> set[str]:
    """Return every event that the agent's code notes."""
    found = {name for _, name in EVENTS} | {CRASHED}
    for path in (REPOSITORY / "edge_agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "note":
                event = node.args[0]
                if isinstance(event, ast.Constant):
                    found.add(str(event.value))
                else:
                    assert ast.unparse(event) in ("event", "CRASHED"), f"{path}: name the event in place"
    return found


def test_every_event_is_explained() -> None:
    assert sorted(first_column("Events")) == sorted(noted())
    assert len(noted()) > 20


def test_every_metric_is_explained() -> None:
    families = (*COUNTERS, *GAUGES, *LATENCIES, SCORES)
    assert first_column("Metrics") == [family.name for family in families]


def test_every_check_of_the_doctor_says_what_to_do() -> None:
    assert sorted(first_column("What the doctor finds")) == sorted(check.name for check in CHECKS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_listed(command: str) -> None:
    assert f"touchstone-agent {command}" in first_column("Commands")


def test_every_setting_is_explained_as_the_code_does() -> None:
    (section,) = re.findall(r"(?s)<!-- settings: .*?-->\n(.*?)<!-- end of settings -->", PAGE)
    assert section == settings_table(), "put what edge_agent.config_file.settings_table() returns between the marks"
