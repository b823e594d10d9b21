"""All threads: the stages over a whole clip, and over a live source."""

from usviewer.pipeline.clip import Analysed, ahead, analyse_clip, prefetch

__all__ = ["Analysed", "ahead", "analyse_clip", "prefetch"]
