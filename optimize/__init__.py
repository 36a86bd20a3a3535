"""A float model in, a gated bundle out."""
