"""All threads: the stages over a whole clip, and over a live source."""

from usviewer.pipeline.analyzer import FrameAnalyzer, FrameResult, analyze_clip, prefetch, read_ahead

__all__ = ["FrameAnalyzer", "FrameResult", "analyze_clip", "prefetch", "read_ahead"]
