"""The commands of ``touchstone-agent``, one module each, imported when asked for."""
