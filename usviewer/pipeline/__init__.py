"""All threads: the stages over a whole clip, and over a live source."""

from usviewer.pipeline.attempt import Analysed, Made
from usviewer.pipeline.clip import ahead, analyse_clip, prefetch

__all__ = ["Analysed", "Made", "ahead", "analyse_clip", "prefetch"]
