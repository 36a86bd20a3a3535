"""One engine a file; each imports its heavy library itself and is named in ``runtime.engine.BACKENDS``."""
