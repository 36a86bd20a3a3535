"""What the desk refuses, each inside the family of ``runtime.contracts.errors`` that says what the caller does next.

::

    Unsupported           Untrusted               TryLater
    ├── NotFound 404      ├── NotSignedIn 401     └── TooOften 429
    ├── Conflict 409      └── Forbidden 403
    └── TooLarge 413

``edge_agent.desk.problems`` holds the one table from class to HTTP status.
"""

from __future__ import annotations

from runtime.contracts.errors import TryLater, Unsupported, Untrusted


class NotFound(Unsupported):
    """There is no such thing here."""


class Conflict(Unsupported):
    """It contradicts what is already here."""


class TooLarge(Unsupported):
    """The body is longer than this route takes."""


class NotSignedIn(Untrusted):
    """The PIN comes first."""


class Forbidden(Untrusted):
    """Another site asks, or somebody who may not."""


class TooOften(TryLater):
    """Too many tries in too short a time."""
