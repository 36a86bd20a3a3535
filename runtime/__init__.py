"""A bundle in, a verdict out. No network, no database, no time of day."""
