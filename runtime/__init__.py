"""A bundle in, a verdict out. No network, no database, no clock of its own."""
