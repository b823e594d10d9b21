"""A picture together with what is drawn on it."""

from __future__ import annotations

from dataclasses import dataclass

from usviewer.frame import Frame, digest_of
from usviewer.overlay.scene import Scene


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedFrame:
    """A frame and the scene that belongs to it: what is kept is what was seen.

    Raises ``ValueError`` (a bug, nothing the user can mend) when the scene was made for another frame, or when the
    pixels are not those the key was made from.
    """

    frame: Frame
    scene: Scene

    def __post_init__(self) -> None:
        if self.frame.key != self.scene.key:
            raise ValueError(f"overlay of {self.scene.key} laid over {self.frame.key}")
        if self.scene.frame_size_px != self.frame.size_px:
            raise ValueError("overlay made for another picture size")
        if digest_of(self.frame.pixels) != self.frame.key.digest:
            raise ValueError("the pixels have changed since the frame was made")
