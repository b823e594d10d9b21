"""The parts of ``usviewer bench``."""
