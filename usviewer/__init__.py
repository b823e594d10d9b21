"""Real-time point-of-care ultrasound viewer. Research use only: not a medical device."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("usviewer")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"

RESEARCH_USE = "Research use only - not for diagnosis"
