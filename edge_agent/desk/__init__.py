"""The operator's desk: a local HTTP service of the running daemon, for the page, conveyor software and ``scan``."""
