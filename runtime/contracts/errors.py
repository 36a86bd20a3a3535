"""The error tree: a family says what the caller does next.

::

    TouchstoneError
    ├── TryLater        data is fine: keep it, back off, retry
    ├── Untrusted       never use or retry these bytes; report
    ├── Unsupported     this device, model or input never can; don't wait
    └── StationFault    a person must act

A message names the subject, what was expected, what came, and what to do. Programming mistakes stay
``TypeError`` / ``ValueError`` and are never translated into this tree.
"""

from __future__ import annotations


class TouchstoneError(Exception):
    """Base of every error that this product raises on purpose."""


class TryLater(TouchstoneError):
    """The data is fine: keep it, back off, retry."""


class Untrusted(TouchstoneError):
    """Never use or retry these bytes; report them."""


class Unsupported(TouchstoneError):
    """This device, model or input never can; do not wait."""


class StationFault(TouchstoneError):
    """A person must act before this can go on."""
