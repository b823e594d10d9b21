"""Which reading is shown for a picture: an annotation before the model's own, and nothing of the model goes with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.fakes import FakeEngine
from tests.helpers.scenes import aorta_reading, flat_frame, summary_of
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame
from usviewer.infer.prediction import Prediction
from usviewer.measure.findings import EMPTY_REPORT
from usviewer.measure.reading import Provenance, Reading
from usviewer.pipeline.annotations import Annotation, Origin
from usviewer.pipeline.live_run import MAX_PAIR_AGE_S
from usviewer.pipeline.prompt_messages import LiveOutline
from usviewer.settings import Settings
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Canvas
from usviewer.view.pointing import PromptSession
from usviewer.view.presenter import Presenter


class Session(PromptSession):
    """Pointing without a model; ``outline`` is what is tracked on the live picture."""

    outline: LiveOutline | None = None

    def live_outline(self) -> LiveOutline | None:
        return self.outline


class Bench:
    """A state, a canvas and what decides between them."""

    def __init__(self, qtbot: Any, folder: Path) -> None:
        self.app_state, self.canvas = AppState(Settings(), folder / "settings.json"), Canvas()
        qtbot.addWidget(self.canvas)
        self.presenter, self.session = Presenter(self.app_state, self.canvas), Session()
        self.app_state.set_engine(FakeEngine().engine())

    @property
    def reading(self) -> Reading | None:
        return self.app_state.on_screen.reading

    def annotate(self, frame: Frame) -> Reading:
        """Point at something on a frame."""
        other = replace(aorta_reading(frame.key), finding="cyst", provenance=Provenance.PROMPTED)
        prediction = Prediction(frame.key, frame.size_px, (), "fake", "0" * 64, "none")
        self.session.layer.put(frame.key.index, Annotation(prediction, None, other, Origin.POINTED))
        return other


@pytest.fixture
def bench(themed: Any, qtbot: Any, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(qtbot, tmp_path)
    yield made
    made.app_state.close()


def frame_at(time_s: float) -> Frame:
    pixels = np.full((48, 64, 3), round(10 * time_s) % 200 + 20, np.uint8)
    return make_frame(pixels, "device:fake", round(100 * time_s), time_s, capture_time_s=time_s)


def test_without_pointing_the_models_reading_is_shown_with_its_name(bench: Bench) -> None:
    frame = flat_frame()
    reading = aorta_reading(frame.key)
    bench.presenter.show(frame, reading, summary_of(reading))
    assert bench.reading is reading and bench.presenter.model_label() == "Fake 1.0"
    assert bench.canvas.scene is not None and bench.canvas.scene.key == frame.key


def test_an_annotation_goes_before_the_models_reading_and_nothing_of_the_model_with_it(bench: Bench) -> None:
    frame = flat_frame()
    reading = aorta_reading(frame.key)
    bench.presenter.show(frame, reading, summary_of(reading))
    bench.presenter.set_report(replace(EMPTY_REPORT, finding="aorta"))
    other = bench.annotate(frame)
    bench.presenter.use_annotations(bench.session)
    assert bench.reading is other and bench.app_state.on_screen.summary is None
    assert bench.presenter.shows_annotation and bench.presenter.model_label() == ""
    assert bench.presenter.report() is EMPTY_REPORT
    bench.presenter.use_annotations(None)
    assert bench.reading is reading and bench.presenter.report().finding == "aorta"


def test_while_something_is_annotated_another_picture_stands_bare(bench: Bench) -> None:
    first, second = flat_frame(level=90), flat_frame(level=60)
    bench.annotate(first)
    bench.presenter.use_annotations(bench.session)
    bench.presenter.show(second, aorta_reading(second.key))
    assert bench.reading is None and bench.canvas.scene is None and bench.canvas.frame is second


def test_a_picture_that_waits_for_its_reading_is_not_kept_but_an_annotated_one_is(bench: Bench) -> None:
    frame = flat_frame()
    bench.presenter.show(frame, pending=True)
    with pytest.raises(UserError, match="just being measured"):
        bench.presenter.to_keep()
    other = bench.annotate(frame)
    bench.presenter.use_annotations(bench.session)
    assert bench.presenter.to_keep().reading is other


def test_live_the_outline_is_shown_on_its_own_picture_as_long_as_it_is_young(bench: Bench) -> None:
    old, newest = frame_at(1.0), frame_at(1.0 + 0.9 * MAX_PAIR_AGE_S)
    tracked = replace(aorta_reading(old.key), provenance=Provenance.PROMPTED)
    bench.session.outline = LiveOutline(old, tracked, age_s=0.05)
    bench.presenter.use_annotations(bench.session)
    bench.presenter.show(newest, aorta_reading(newest.key), newest=newest)
    assert (
        bench.reading is tracked
        and bench.app_state.on_screen.frame is old
        and "0.05 s old" in bench.app_state.on_screen.note
    )
    later = frame_at(1.0 + 1.1 * MAX_PAIR_AGE_S)
    bench.presenter.show(later, aorta_reading(later.key), newest=later)
    assert bench.reading is None and bench.app_state.on_screen.frame is later


def test_live_without_a_tracked_outline_the_model_goes_on(bench: Bench) -> None:
    newest = frame_at(2.0)
    reading = aorta_reading(newest.key)
    bench.presenter.use_annotations(bench.session)
    bench.presenter.show(newest, reading, newest=newest)
    assert bench.reading is reading and not bench.presenter.shows_annotation


def test_what_no_longer_holds_goes_at_once_and_is_awaited(bench: Bench) -> None:
    frame = flat_frame()
    bench.presenter.show(frame, aorta_reading(frame.key))
    bench.presenter.renew()
    assert bench.reading is None and bench.app_state.on_screen.pending and bench.canvas.scene is None


def test_the_same_again_is_told_to_nobody(bench: Bench) -> None:
    told: list[None] = []
    bench.app_state.shown_changed.connect(lambda: told.append(None))
    frame = flat_frame()
    reading = aorta_reading(frame.key)
    for _ in range(3):
        bench.presenter.show(frame, reading)
    assert len(told) == 1
