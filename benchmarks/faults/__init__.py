"""Faults done to the real programs: kills, power cuts, full disks, bad networks, wrong clocks, long days."""
