"""All threads: the stages over a whole clip, and over a live source."""

from usviewer.pipeline.attempt import AnalyzedFrame, Made
from usviewer.pipeline.clip_run import analyze_clip, prefetch, read_ahead

__all__ = ["AnalyzedFrame", "Made", "analyze_clip", "prefetch", "read_ahead"]
