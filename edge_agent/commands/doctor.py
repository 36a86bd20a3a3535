"""``touchstone-agent doctor``: looks at everything a station needs. Reads only, so it may run beside the agent."""

from __future__ import annotations

import argparse
import json
import sys

from edge_agent.doctor.checks import examine
from edge_agent.doctor.finding import as_data, as_text, worst
from edge_agent.doctor.subject import Subject
from edge_agent.home import Home


def main(home: Home, arguments: argparse.Namespace) -> int:
    """Print what was found; return 1 where something failed."""
    subject = Subject(home, trial=arguments.trial)
    try:
        findings = tuple(examine(subject))
    finally:
        subject.close()
    sys.stdout.write(json.dumps(as_data(findings), indent=2) + "\n" if arguments.json else as_text(findings))
    return 1 if worst(findings) == "fail" else 0
