"""Edge errors, the fit of the outline's standard deviation, and what intervals hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.training.reliability import (
    edge_error_px,
    fitted_edge_sd,
    reliability_rows,
    share_held,
    write_reliability,
)
from usviewer.frame import Mask
from usviewer.infer.prediction import Instance, instance_of

LIKE = Instance("aorta", 0, 0.9, (0.0, 0.0, 0.0, 0.0))


def disc(radius_px: float) -> Mask:
    rows, columns = np.indices((200, 240))
    return np.hypot(columns + 0.5 - 120, rows + 0.5 - 100) <= radius_px


@pytest.mark.parametrize("input_px_per_frame_px", [1.0, 0.5])
def test_a_disc_that_is_too_large_all_round_is_off_by_as_much(input_px_per_frame_px: float) -> None:
    """``uncertainty.DIAMETER_GAIN`` is for an edge of which about a radian moves together: 1.43 of a whole one's 2."""
    found = instance_of(disc(33.0), LIKE, 0.9)
    error = edge_error_px(found, disc(30.0), "aorta", "ap_diameter", input_px_per_frame_px)
    assert error == pytest.approx(6.0 / 1.4263 * input_px_per_frame_px, rel=0.03)


def test_what_the_viewer_would_not_measure_has_no_error_and_what_is_elsewhere_a_large_one() -> None:
    cut = np.roll(disc(30.0), 118, axis=1)
    assert edge_error_px(instance_of(cut, LIKE, 0.9), disc(30.0), "aorta", "ap_diameter", 1.0) is None
    nothing = np.zeros((200, 240), np.bool_)
    error = edge_error_px(instance_of(disc(30.0), LIKE, 0.9), nothing, "aorta", "ap_diameter", 1.0)
    assert error is not None and error > 20


def test_of_normal_errors_the_fit_gives_their_spread_and_intervals_hold_what_they_say(tmp_path: Path) -> None:
    errors = list(np.random.default_rng(1).normal(0.0, 1.7, 4000))
    sd = fitted_edge_sd(errors)
    assert sd == pytest.approx(1.7, rel=0.05)
    assert [share_held(errors, sd, level) for level in (0.5, 0.95)] == pytest.approx([0.5, 0.95], abs=0.03)
    assert reliability_rows(errors).splitlines()[-1].startswith("| 95% | 95.0% |")
    write_reliability(tmp_path / "reliability.png", errors)
    assert (tmp_path / "reliability.png").stat().st_size > 1000


def test_of_few_errors_nothing_is_fitted() -> None:
    assert fitted_edge_sd([1.0] * 19) == 0.0 and "too few" in reliability_rows([1.0])
