"""Exact bilinear resampling from a model's output grid to any window of the frame.

A grid's value belongs to the centre of its cell. The value at a frame pixel is the bilinear blend of the cells around
the pixel's centre, held constant beyond the outermost cells whose centre lies in the picture (cells of padding take no
part). It is exact, unlike OpenCV's warps with their 5-bit weights. Both axes are separate, so a small window is cheap.
Elementwise on purpose: the threads of numpy's matrix product cost milliseconds when other threads want the cores.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Mask
from usviewer.infer.preprocess import PixelBox, Placement

Values = NDArray[np.float64]

# 256 KiB a buffer: they stay in the processor's cache.
BAND_PX = 1 << 15


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One axis: the cells ``low`` and ``high`` beside the centre of each pixel of the crop, and the weight of ``high``.

    ``first`` and ``last`` are the outermost cells that take part, ``cells_per_px`` the step from pixel to pixel.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: Values
    first: int
    last: int
    cells_per_px: float


@dataclass(frozen=True, slots=True, eq=False)
class Resampler:
    """The grid of one output, seen from the frame. Windows are half-open boxes of whole frame pixels in the crop."""

    x: _Axis
    y: _Axis
    origin_px: tuple[int, int]

    def cells(self, window: PixelBox) -> tuple[slice, slice]:
        """Give the rows and columns of the grid that the window needs."""
        x0, y0, x1, y1 = self._inside(window)
        rows = slice(int(self.y.low[y0]), int(self.y.high[y1 - 1]) + 1)
        return rows, slice(int(self.x.low[x0]), int(self.x.high[x1 - 1]) + 1)

    def window(self, values: Values, window: PixelBox) -> Values:
        """Give the value at every pixel of the window, float64 (rows, columns).

        ``values`` are those of the cells that ``cells`` names for it.
        """
        result = np.empty((window[3] - window[1], window[2] - window[0]))
        for rows, band in self._bands(values, window):
            result[rows] = band
        return result

    def exceeds(self, values: Values, window: PixelBox, threshold: float) -> Mask:
        """Give the mask of the pixels at which ``window(values, window)`` is above the threshold."""
        # Band by band, so that the values of the whole window are never in memory.
        result = np.empty((window[3] - window[1], window[2] - window[0]), np.bool_)
        for rows, band in self._bands(values, window):
            np.greater(band, threshold, out=result[rows])
        return result

    def _bands(self, values: Values, window: PixelBox) -> Iterator[tuple[slice, Values]]:
        """The window in bands of rows that stay in the processor's cache; each is overwritten by the next."""
        x0, y0, x1, y1 = self._inside(window)
        low, high, weight = (
            self.x.low[x0:x1] - self.x.low[x0],
            self.x.high[x0:x1] - self.x.low[x0],
            self.x.weight[x0:x1],
        )
        across = values.take(low, axis=1) * (1 - weight) + values.take(high, axis=1) * weight
        step = np.diff(across, axis=0, append=across[-1:])  # from each row of cells to the next
        height = max(1, BAND_PX // (x1 - x0))
        buffers = np.empty((2, min(height, y1 - y0), x1 - x0))
        for top in range(y0, y1, height):
            bottom = min(y1, top + height)
            band, base = buffers[0, : bottom - top], buffers[1, : bottom - top]
            row = self.y.low[top:bottom] - self.y.low[y0]
            np.take(step, row, axis=0, out=band, mode="clip")
            band *= self.y.weight[top:bottom, None]
            band += np.take(across, row, axis=0, out=base, mode="clip")
            yield slice(top - y0, bottom - y0), band

    def pixels_of(self, rows: slice, columns: slice) -> PixelBox:
        """Give the window of all pixels to which any of these cells contributes; empty where there is none."""
        x0, x1 = _touching(self.x, columns)
        y0, y1 = _touching(self.y, rows)
        left, top = self.origin_px
        return (x0 + left, y0 + top, x1 + left, y1 + top)

    def _inside(self, window: PixelBox) -> PixelBox:
        left, top = self.origin_px
        return window[0] - left, window[1] - top, window[2] - left, window[3] - top


@functools.lru_cache(maxsize=16)
def resampler(placement: Placement, grid_size: tuple[int, int]) -> Resampler:
    """Make the resampler from an output grid of (columns, rows) over the model's whole input to the frame.

    It is kept: the frames of a source have one placement.
    """
    x0, y0, x1, y1 = placement.crop_xyxy_px
    width, height = placement.input_size_px
    pad_x, pad_y = placement.pad_xy_px
    scale_x, scale_y = placement.scale_xy
    columns, rows = grid_size
    return Resampler(
        x=_axis(x1 - x0, scale_x * columns / width, pad_x * columns / width, columns),
        y=_axis(y1 - y0, scale_y * rows / height, pad_y * rows / height, rows),
        origin_px=(x0, y0),
    )


def _axis(pixels: int, cells_per_px: float, pad_cells: float, cells: int) -> _Axis:
    # 1e-9: a centre that lies exactly on the rim of the picture belongs to it, whatever rounding does.
    first = max(0, math.ceil(pad_cells - 0.5 - 1e-9))
    last = min(cells - 1, math.floor(pad_cells + pixels * cells_per_px - 0.5 + 1e-9))
    if last < first:  # the picture is smaller than a cell
        first = last = min(cells - 1, int(pad_cells + pixels * cells_per_px / 2))
    position = np.clip((np.arange(pixels) + 0.5) * cells_per_px + pad_cells - 0.5, first, last)
    low = position.astype(np.intp)
    return _Axis(low, np.minimum(low + 1, last), position - low, first, last, cells_per_px)


def _touching(axis: _Axis, cells: slice) -> tuple[int, int]:
    start = int(np.searchsorted(axis.high, cells.start, side="left"))
    stop = int(np.searchsorted(axis.low, cells.stop - 1, side="right"))
    return start, max(start, stop)
