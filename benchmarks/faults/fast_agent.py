"""``touchstone-agent`` with shorter hours: ``fast_agent SPEED RETENTION_EVERY_S KEPT_DAY_S ARGUMENT...``.

Scales what no setting reaches: how often photos are let go, how long a day of theirs lasts (both in real seconds), and
how often the agent reports and asks for features. All else is the agent as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from edge_agent import feature_feed, retention, uplink
from edge_agent.cli import main as agent


def main(arguments: Sequence[str]) -> int:
    """Run one command of the agent."""
    speed, every_s, day_s = map(float, arguments[:3])
    retention.EVERY_S, retention._DAY_S = every_s, day_s
    uplink.REPORT_EVERY_S /= speed
    feature_feed.FEATURES_EVERY_S /= speed
    return agent(arguments[3:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
