"""Real-time point-of-care ultrasound viewer. Research use only: not a medical device.

For scripts: ``usviewer.analyze``, and the other names of ``usviewer.api``.
"""

import os
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def _forbid_telemetry() -> None:
    """Tell libraries that report on their users not to, for this process and the ones that it starts.

    ONNX Runtime starts a client that keeps an identifier of the computer in the user's cache and calls its maker about
    ten seconds after the import; its own ``disable_telemetry_events`` comes after that start. Importing OpenVINO calls
    a web-statistics service, through a package of its own that it does without where it is not there.

    A child process imports this package before an engine, or has the environment from here.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # A module that is None counts as not installed.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


_forbid_telemetry()  # before anything else of this package can import an engine

try:
    __version__ = version("usviewer")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"

RESEARCH_USE = "Research use only - not for diagnosis"


# What ``usviewer.api`` offers scripts. Named here as well, so that looking for anything else imports nothing.
__all__ = [
    "RESEARCH_USE",
    "ClipReport",
    "Frame",
    "FrameResult",
    "LoadedModel",
    "Plane",
    "Prediction",
    "Reading",
    "Site",
    "Source",
    "Status",
    "Summary",
    "UserError",
    "__version__",
    "analyze",
    "clip_report",
    "load_model",
    "open_source",
    "reading_row",
    "summarize",
]


def __getattr__(name: str) -> Any:
    """Bring what scripts use with its first use (PEP 562): the import itself stays fast.

    Type checkers read ``__init__.pyi``. An import of ``usviewer.api`` here, even a late one, would close a circle: all
    of the package imports this module.
    """
    if name not in __all__:
        raise AttributeError(f"module 'usviewer' has no attribute '{name}'")
    return getattr(import_module("usviewer.api"), name)
