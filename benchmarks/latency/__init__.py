"""The latency suite: scenarios, the systems that play them, the limits of the machine, and honest reports."""
