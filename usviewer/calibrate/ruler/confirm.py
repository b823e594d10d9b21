"""A ruler that was found on the pictures of one source: a proposal until the operator says what its ticks are worth."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from usviewer.calibrate.ruler import layouts
from usviewer.calibrate.ruler.detect import CHANGES, NO_RULER, Ruler, RulerSearch, find_ruler, spacing
from usviewer.calibrate.ruler.layouts import RulerLayout
from usviewer.calibrate.ruler.watch import Confirmed, Reference, take_reference
from usviewer.calibrate.sector import find_sector
from usviewer.errors import UserError
from usviewer.files import keep_copy, make_folder, one_at_a_time, write_text
from usviewer.frame import Frame, Pixels, SourceInfo
from usviewer.units import Spacing, pixel_shape

UNCONFIRMED = "A ruler was found but not confirmed: lengths are in pixels until you say what one of its ticks is worth"


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A ruler that waits for the operator to say what its ticks are worth. Nothing here has millimetres.

    ``frames`` are the pictures (RGB) that show it, the first of them number ``from_index`` of its source. ``across`` is
    a second ruler along the other axis.
    """

    ruler: Ruler
    across: Ruler | None
    frames: tuple[Pixels, ...]
    device: str
    pixel_aspect: float = 1.0
    from_index: int = 0

    def confirmed(self, tick_mm: float, across_tick_mm: float | None = None) -> Confirmed:
        """The scale that the operator confirms. Raises ``UserError`` for a value that cannot be right."""
        return self.watching(self.scale(tick_mm, across_tick_mm))

    def scale(self, tick_mm: float, across_tick_mm: float | None = None) -> Spacing:
        """What its ticks make of a pixel. Raises ``UserError`` for a value that cannot be right."""
        return spacing(self.ruler, tick_mm, self.across, across_tick_mm, pixel_aspect=self.pixel_aspect)

    def watching(self, scale: Spacing) -> Confirmed:
        """A scale of any origin that holds as long as this ruler stays what it is."""
        return Confirmed(scale, self.reference(), self.from_index)

    def layout(self, tick_mm: float, confirmed: str) -> RulerLayout:
        """What to remember; ``confirmed`` is the date. ``UserError`` where another depth could not be told from it."""
        return layouts.layout_of(self.device, self.ruler, tick_mm, self.reference(), confirmed)

    def remembered(self, known: Sequence[RulerLayout]) -> RulerLayout | None:
        """The layout that was confirmed for this very screen before, and that can be right for it."""
        layout = layouts.recognized(known, self.device, self.ruler, self.frames[0])
        try:
            if layout is not None:
                spacing(self.ruler, layout.tick_mm, pixel_aspect=self.pixel_aspect)
        except UserError:
            return None
        return layout

    def reference(self) -> Reference:
        """The pixels that must not change."""
        sector = find_sector(self.frames, pixel_shape(self.pixel_aspect))
        if not sector.certain:  # its outline is a guess: what lies inside it must stay as it is, too
            return take_reference(self.ruler, self.frames)
        return take_reference(self.ruler, self.frames, sector)


def propose(frames: Sequence[Frame], info: SourceInfo, *, read: bool = False) -> tuple[Proposal | None, str]:
    """Find the ruler that these frames of one source (in order, of equal size) show, or say why none can be used.

    Where the depth changes on the way, it is the ruler of the first frames. ``read`` also reads what is written beside
    it (0.2 s where Tesseract is installed).
    """
    shown, found = _shown_on_most(list(frames), read)
    if found.ruler is None:
        return None, found.reason
    across = None
    if found.ruler is found.vertical:
        across = found.horizontal
    pixels = tuple(frame.pixels for frame in shown)
    device = layouts.device_of(info)
    return Proposal(found.ruler, across, pixels, device, info.pixel_aspect, shown[0].key.index), ""


def _shown_on_most(frames: list[Frame], read: bool) -> tuple[list[Frame], RulerSearch]:
    """All frames with their ruler; where they do not share one, the first of them that do (two at least)."""
    found = find_ruler([frame.pixels for frame in frames], read=read)
    if found.reason not in (CHANGES, NO_RULER) or len(frames) < 3:
        return frames, found
    # Where the first frame has no ruler to offer, no beginning of the clip has.
    if find_ruler([frames[0].pixels], read=False).ruler is None:
        return frames, found
    # Halves: where the depth changes late, one look is enough, and never more than a few are needed.
    first = frames
    while len(first) > 2:
        first = first[: (len(first) + 1) // 2]
        shorter = find_ruler([frame.pixels for frame in first], read=read)
        if shorter.ruler is not None:
            return first, shorter
    return frames, found


def remember(proposal: Proposal, tick_mm: float, path: Path | None = None) -> None:
    """Remember a ruler, for use wherever the same screen is seen.

    Raises ``UserError`` where another depth could not be told from this one, or the file cannot be written.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    layout = proposal.layout(tick_mm, today)
    target = path or layouts.layouts_path()
    make_folder(target.parent)
    with one_at_a_time(target):  # two windows may remember at once, and neither may lose what the other wrote
        known, problems = layouts.load(target)
        if problems and keep_copy(target) is None:
            raise UserError(
                f"{target.name} cannot be understood, and no copy of it can be made before it is written again",
                "Move it away, then confirm the ruler again",
            )
        write_text(target, layouts.to_text(layouts.with_layout(known, layout)))
