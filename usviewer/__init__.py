"""Real-time point-of-care ultrasound viewer. Research use only: not a medical device."""

from importlib.metadata import PackageNotFoundError, version

from usviewer import no_telemetry

no_telemetry.forbid()  # before anything else of this package can import an engine

try:
    __version__ = version("usviewer")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"

RESEARCH_USE = "Research use only - not for diagnosis"
