"""All threads: the stages over a whole clip, and over a live source."""

from usviewer.pipeline.clip import Analysed, analyse_clip, prefetch

__all__ = ["Analysed", "analyse_clip", "prefetch"]
