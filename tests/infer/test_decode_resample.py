from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usviewer.infer.decode import resampler
from usviewer.infer.manifest import InputSpec
from usviewer.infer.preprocess import Placement, place


def naive(grid: np.ndarray, placement: Placement) -> np.ndarray:
    """The whole crop, each pixel by the definition."""
    x0, y0, x1, y1 = placement.crop_xyxy_px
    per_cell = [size / cells for size, cells in zip(placement.input_size_px, grid.shape[::-1], strict=True)]
    result = np.empty((y1 - y0, x1 - x0))
    spans = []
    for axis, (start, stop) in enumerate(((x0, x1), (y0, y1))):
        pad, scale = placement.pad_xy_px[axis], placement.scale_xy[axis]
        centres = (np.arange(grid.shape[1 - axis]) + 0.5) * per_cell[axis]
        end = pad + (stop - start) * scale
        inside = [i for i, c in enumerate(centres) if pad - 1e-6 <= c <= end + 1e-6]
        spans.append((inside[0], inside[-1]))
    for row in range(y1 - y0):
        for column in range(x1 - x0):
            gx, gy = (
                float(np.clip(((p + 0.5) * s + q) / c - 0.5, *span))
                for p, s, q, c, span in zip(
                    (column, row), placement.scale_xy, placement.pad_xy_px, per_cell, spans, strict=True
                )
            )
            i, j = int(gy), int(gx)
            k, m = min(i + 1, spans[1][1]), min(j + 1, spans[0][1])
            v, u = gy - i, gx - j
            top = grid[i, j] * (1 - u) + grid[i, m] * u
            low = grid[k, j] * (1 - u) + grid[k, m] * u
            result[row, column] = top * (1 - v) + low * v
    return result


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    cells=st.sampled_from([(16, 16), (16, 24), (32, 8)]),
    where=st.tuples(*[st.floats(0, 1)] * 4),
    seed=st.integers(0, 1000),
)
def test_any_window_equals_the_definition(
    size: tuple[int, int], cells: tuple[int, int], where: tuple[float, ...], seed: int
) -> None:
    placement = place(size, InputSpec("x", 64, 64, 1))
    grid = np.random.default_rng(seed).normal(size=(cells[1], cells[0]))
    xs = sorted(min(int(w * size[0]), size[0] - 1) for w in where[:2])
    ys = sorted(min(int(w * size[1]), size[1] - 1) for w in where[2:])
    window = (xs[0], ys[0], xs[1] + 1, ys[1] + 1)
    sampler = resampler(placement, cells)
    part = sampler.window(grid[sampler.cells(window)], window)
    whole = naive(grid, placement)
    np.testing.assert_allclose(part, whole[window[1] : window[3], window[0] : window[2]], atol=1e-12)
    np.testing.assert_array_equal(sampler.exceeds(grid[sampler.cells(window)], window, 0.1), part > 0.1)


def test_a_window_taller_than_a_band_has_no_seam() -> None:
    placement = place((1920, 1080), InputSpec("x", 64, 64, 1))
    sampler = resampler(placement, (16, 16))
    window = (0, 0, 1920, 1080)
    ramp = np.add.outer(np.arange(16.0), np.zeros(16))
    rows, columns = sampler.cells(window)
    whole = sampler.window(ramp[rows, columns], window)
    assert np.ptp(whole, axis=1).max() < 1e-12
    steps = np.diff(whole[:, 0])
    assert steps.min() >= -1e-12 and steps.max() == pytest.approx(16 / 64 * 64 / 1920, rel=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (4000, 3), (3, 4000), (17, 900)])
def test_tiny_and_thin_pictures_are_covered(size: tuple[int, int]) -> None:
    placement = place(size, InputSpec("x", 64, 64, 1))
    sampler = resampler(placement, (16, 16))
    window = (0, 0, *size)
    values = sampler.window(np.ones((16, 16))[sampler.cells(window)], window)
    assert values.shape == size[::-1] and (values == 1).all()


def test_pixels_of_names_every_pixel_a_cell_touches() -> None:
    placement = place((90, 60), InputSpec("x", 64, 64, 1))
    sampler = resampler(placement, (16, 16))
    whole = (0, 0, 90, 60)
    for row, column in ((8, 5), (3, 0), (13, 15), (10, 10)):
        grid = np.zeros((16, 16))
        grid[row, column] = 1
        rows, columns = np.nonzero(sampler.window(grid[sampler.cells(whole)], whole))
        x0, y0, x1, y1 = sampler.pixels_of(slice(row, row + 1), slice(column, column + 1))
        if rows.size:
            assert x0 <= columns.min() and columns.max() < x1 and y0 <= rows.min() and rows.max() < y1
