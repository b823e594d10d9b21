"""Models that outline what they are pointed at: an encoder for the picture, a decoder for every click.

The layout is that of the original SAM's ONNX export (``docs/models.md``). ``types`` is what comes and goes,
``decoder_io`` is pure, ``prompt_runner`` runs the two graphs, ``prompt_model`` is what the rest of the program uses.
"""

from __future__ import annotations

from usviewer.infer.prompt.types import Embedding, LowResMask, Prompt, PromptOutline, at_point, in_box

__all__ = ["Embedding", "LowResMask", "Prompt", "PromptOutline", "at_point", "in_box"]
