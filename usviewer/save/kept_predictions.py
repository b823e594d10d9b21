"""What a model said of the frames of a clip, packed: enough to measure them again without the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Frame, FrameKey, ImageGeometry, Mask
from usviewer.infer.prediction import Prediction

Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class KeptPrediction:
    """One frame's prediction with its masks as bits, and what else than the pixels and the model it depends on.

    ``masks`` and ``shapes`` are those of what was found, then those of what was carried here.

    The network was shown the part of the picture in ``sector_box_px`` (None: all of it), with pixels of this
    ``pixel_aspect``. ``stated_aspect`` is the recording's own word on the shape of its pixels.
    """

    bare: Prediction
    masks: tuple[Bits | None, ...]
    shapes: tuple[tuple[int, int], ...]  # rows and columns of each mask
    sector_box_px: tuple[int, int, int, int] | None
    pixel_aspect: float
    stated_aspect: float = 1.0

    @property
    def key(self) -> FrameKey:
        """The frame that it is of."""
        return self.bare.key

    def prediction(self, source: str) -> Prediction:
        """The prediction as the model gave it, under the source's present name."""
        every = (*self.bare.instances, *self.bare.carried)
        whole = tuple(
            replace(instance, mask=_unpacked(bits, shape))
            for instance, bits, shape in zip(every, self.masks, self.shapes, strict=True)
        )
        found = len(self.bare.instances)
        return replace(self.bare, key=replace(self.key, source=source), instances=whole[:found], carried=whole[found:])

    def holds_for(self, geometry: ImageGeometry | None) -> bool:
        """Whether the network would be shown the same with this geometry."""
        sector = geometry.sector if geometry is not None else None
        box = sector.box_xyxy_px if sector is not None else None
        return geometry is not None and (box, geometry.pixel_aspect) == (self.sector_box_px, self.pixel_aspect)

    @property
    def nbytes(self) -> int:
        """Bytes of the masks."""
        return sum(bits.nbytes for bits in self.masks if bits is not None)


def pack(frame: Frame, prediction: Prediction) -> KeptPrediction:
    """A prediction of this calibrated frame, to be kept."""
    every = (*prediction.instances, *prediction.carried)
    masks, shapes = tuple(_packed(one.mask) for one in every), tuple(_shape(one.mask) for one in every)
    bare = replace(
        prediction,
        instances=tuple(replace(one, mask=None) for one in prediction.instances),
        carried=tuple(replace(one, mask=None) for one in prediction.carried),
        timings_ms={},
    )
    return KeptPrediction(bare, masks, shapes, frame.sector_box_px, frame.pixel_aspect, frame.stated_aspect)


@dataclass(slots=True, eq=False)
class KeptPredictions:
    """Those of a whole clip, by frame; ``seen`` is what the watch of its ruler (``reference``) said of each frame.

    Of the aorta sweep (444 frames of 1536x796) they take 0.3 MB of masks, and about 1 kB more for each frame.
    ``geometries`` are those that ``calibrated_by`` gave the frames, which need not be worked out again for it.
    """

    frames: dict[int, KeptPrediction] = field(default_factory=dict)
    reference: str = ""
    seen: Mapping[str, str] = field(default_factory=dict)
    geometries: dict[int, ImageGeometry | None] = field(default_factory=dict)
    calibrated_by: object = None
    stored: bool = False  # whether they lie on the disk as they are

    def add(self, frame: Frame, prediction: Prediction) -> None:
        """One more frame that was calibrated and predicted."""
        self.frames[frame.key.index] = pack(frame, prediction)
        self.stored = False

    def copy(self) -> KeptPredictions:
        """The same for another analysis, while this one may still go on."""
        return replace(self, frames=dict(self.frames), geometries=dict(self.geometries))


def _shape(mask: Mask | None) -> tuple[int, int]:
    return (0, 0) if mask is None else (mask.shape[0], mask.shape[1])


def _packed(mask: Mask | None) -> Bits | None:
    return None if mask is None else np.packbits(mask, axis=None)


def _unpacked(bits: Bits | None, shape: tuple[int, int]) -> Mask | None:
    if bits is None:
        return None
    mask: Mask = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).view(np.bool_)
    mask.setflags(write=False)
    return mask
