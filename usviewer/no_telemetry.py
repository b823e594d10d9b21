"""Libraries that report on their users are told not to, before they are imported.

ONNX Runtime starts a client that keeps an identifier of the computer in the user's cache and calls its maker about ten
seconds after the import; its own ``disable_telemetry_events`` comes after that start. Importing OpenVINO calls a
web-statistics service, through a package of its own that it does without where it is not there.
"""

from __future__ import annotations

import os
import sys


def forbid() -> None:
    """For this process and the ones that it starts. Called where the package is imported, so on every way to an engine.

    A child process imports this package before an engine, or has the environment from here.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # A module that is None counts as not installed.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
