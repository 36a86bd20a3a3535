"""Keeps OpenVINO and NNCF from calling home: both report every import to a third party unless their reporter is absent.

Must run before either is first imported. Imports neither.
"""

from __future__ import annotations

import sys


def keep_home() -> None:
    """Make importing the reporter fail as if it were not installed, in this process only."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what Python itself means by None
