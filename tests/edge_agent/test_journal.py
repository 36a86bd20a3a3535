"""The log: lines of JSON, and never a reason for anything to fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edge_agent.journal import note
from tests.edge_agent.rigs import REPOSITORY


def test_a_line_holds_the_time_the_event_and_the_facts_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    note("x", b="half a pair: \udcff", a=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert list(json.loads(line)) == ["at", "event", "b", "a"]


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2> >(exec true)"], ids=["full", "closed", "pipe"])
def test_lines_that_cannot_be_written_are_dropped_and_the_program_goes_on(stderr: str) -> None:
    program = "from edge_agent.journal import note; [note('x', n=n) for n in range(5000)]; print('done')"
    shell = ["bash", "-c", f'"$0" -c "$1" {stderr}', sys.executable, program]
    done = subprocess.run(shell, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")
