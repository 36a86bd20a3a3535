"""Keeps engines from calling home: a station's models, machine and hours of work are nobody else's business.

OpenVINO and NNCF report every import unless their reporter is absent; ONNX Runtime, from 1.29 on, every process and
session, under an id of the machine that it keeps on disk. Must run before any of them is first imported; imports none.
"""

from __future__ import annotations

import os
import sys


def keep_home() -> None:
    """Switch all reporters off, in this process and those that it starts."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what Python itself means by None
