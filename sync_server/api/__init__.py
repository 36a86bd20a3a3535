"""HTTP, version 1: each module is the routes of one subject. Decides nothing; parses, calls, answers."""
