"""A ruler on the screen: offered, confirmed by the operator, watched, remembered; never used unasked."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.fakes import FakeEngine, wait_until
from tests.helpers.recordings import write_clip
from tests.helpers.screens import screen
from tests.helpers.workbench import Workbench
from usviewer.calibrate.ruler import layouts
from usviewer.calibrate.ruler.layouts import UNCONFIRMED
from usviewer.calibrate.ruler.watch import WITHDRAWALS
from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure.reading import Reading
from usviewer.save.cache import clips_folder
from usviewer.view.live_controller import LiveController
from usviewer.view.ruler_bar import RulerController, _search_clip

SIZE = (480, 360)
PITCH = 21.8
COUNT, CHANGE = 12, 7
WIDER = 1.3


class ScaledEngine(FakeEngine):
    """Says with each reading what scale its frame had."""

    def read(self, prediction: Prediction, geometry: ImageGeometry | None) -> Reading:
        reading = super().read(prediction, geometry)
        assert geometry is not None
        spacing, reason = geometry.spacing_for(reading.outlines_xy_px[0])
        return replace(reading, spacing=spacing, no_scale_reason=reason)


class Bench(Workbench):
    """Review with the ruler's strip."""

    def __init__(self, qtbot: Any, folder: Path) -> None:
        self.engine = ScaledEngine()
        super().__init__(qtbot, folder, self.engine)
        self.live = LiveController(self.app_state, self.presenter, self.notify)
        self.ruler = RulerController(self.app_state, self.presenter, self.canvas, self.notify, self.live, self.review)
        qtbot.addWidget(self.ruler.bar)

    def turn(self) -> None:
        super().turn()
        self.live.tick()
        self.ruler.tick()

    def until(self, condition: Callable[[], Any], timeout_ms: int = 60_000) -> None:
        super().until(condition, timeout_ms)

    @property
    def bar(self) -> Any:
        return self.ruler.bar

    def until_kept(self, name: str) -> Path:
        """The file of this name that is kept with the clip."""
        self.until(lambda: bool(list(clips_folder().glob(f"*/{name}"))))
        return next(clips_folder().glob(f"*/{name}"))

    def scale(self) -> float | None:
        """Millimetres per pixel of the picture on the screen."""
        frame = self.app_state.on_screen.frame
        regions = frame.geometry.regions if frame is not None and frame.geometry is not None else ()
        return regions[0].spacing.y_mm_per_px if regions else None

    def go(self, index: int) -> None:
        self.review.go(index)
        self.until(lambda: self.index == index)


@pytest.fixture
def bench(qtbot: Any, tmp_path: Path, themed: object) -> Iterator[Bench]:
    before = set(threading.enumerate())
    made = Bench(qtbot, tmp_path)
    yield made
    made.live.close()
    made.review.close()
    wait_until(lambda: _let_go(made, before), 60.0)
    made.close()


def _let_go(bench: Bench, before: set[threading.Thread]) -> bool:
    """A clip lets go when it has looked at its frames, a live source when the frame in hand is through."""
    bench.app_state.tick()
    names = ("usviewer-playback", "usviewer-calibration", "usviewer-analysis", "usviewer-capture", "usviewer-infer")
    begun = set(threading.enumerate()) - before
    return not bench.app_state.loads.busy and not any(thread.name in names for thread in begun)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    def make(change: int) -> Path:
        path = tmp_path_factory.mktemp("clips") / f"change-{change}.mp4"
        pictures = [
            screen("ge", PITCH if k < change else PITCH * WIDER, SIZE, seed=k, smooth=True) for k in range(COUNT)
        ]
        return write_clip(path, count=COUNT, size=SIZE, pictures=pictures, options={"crf": "18"})

    return make


def test_a_ruler_is_offered_with_its_ticks_and_nothing_is_chosen_beforehand(bench: Bench, clip: Any) -> None:
    bench.open(clip(COUNT))
    bench.until(bench.bar.isVisible)
    assert "21.8" in bench.bar.says
    assert bench.bar.tick_mm is None
    assert not bench.bar.use.isEnabled()
    assert bench.scale() is None
    assert bench.app_state.on_screen.frame.geometry.no_scale_reason == UNCONFIRMED
    before = _yellow(bench)
    bench.ruler.dismiss()
    assert _yellow(bench) < before - 50
    bench.turn()
    assert not bench.bar.isVisible()


@pytest.mark.parametrize("width_px", [402, 420, 618, 760, 1300])
def test_the_strip_cuts_no_number_however_narrow_it_is(bench: Bench, clip: Any, width_px: int) -> None:
    """402: at 1280 x 800 between the list of clips and an open panel."""
    proposal = _search_clip(clip(COUNT), 0, ()).proposal
    assert proposal is not None
    bar = bench.bar
    bar.show_proposal(proposal, again=False)
    bar.other.click()
    bar.resize(width_px, bar.heightForWidth(width_px))
    bar.layout().activate()
    parts = [bar.presets[0], bar.presets[1], bar.other, bar.value, bar.keep, bar.use, bar.later]
    for part in parts:
        assert not part.isHidden()
        assert part is bar.value or part.width() >= part.sizeHint().width()
        assert part.height() >= part.sizeHint().height()
        assert bar.rect().contains(part.geometry())
    assert not any(a.geometry().intersects(b.geometry()) for a, b in itertools.combinations(parts, 2))
    bar.value.setValue(100.0)
    assert bar.value.text() == "100 mm"
    assert bar.value.fontMetrics().horizontalAdvance("12.345 mm") < bar.value.width()
    assert (len({part.y() for part in (bar.presets[0], bar.use)}) == 1) == (width_px >= 600)


def _yellow(bench: Bench) -> int:
    """Pixels in the colour of the marks."""
    image = bench.canvas.grab().toImage().convertToFormat(bench.canvas.grab().toImage().Format.Format_RGB888)
    stride = image.bytesPerLine()
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), stride)[:, : 3 * image.width()]
    rgb = rows.reshape(image.height(), image.width(), 3).astype(int)
    return int(np.count_nonzero((rgb[..., 0] > 200) & (rgb[..., 1] > 190) & (rgb[..., 2] < 110)))


def test_confirming_gives_millimetres_to_every_frame(bench: Bench, clip: Any) -> None:
    bench.open(clip(COUNT))
    bench.until(bench.bar.isVisible)
    bench.bar.presets[1].click()
    assert "13 cm" in bench.bar.says  # 14 ticks
    bench.bar.use.click()
    bench.until(lambda: bench.scale() is not None and bench.is_done())
    assert bench.scale() == pytest.approx(10.0 / PITCH, rel=0.002)
    assert not bench.bar.isVisible()
    readings = [bench.review.automatic_of(index) for index in range(COUNT)]
    assert {reading.spacing.source for reading in readings} == {"on-screen ruler"}
    assert layouts.load() == ((), ())


def test_another_value_can_be_typed_and_a_wrong_one_is_said(bench: Bench, clip: Any) -> None:
    bench.open(clip(COUNT))
    bench.until(bench.bar.isVisible)
    for wrong, why in (
        ("1e1", "not a plain number"),
        ("20 in", "unit"),
        ("1.234,5", "in groups"),
        ("200", "from 0.1 to"),
    ):
        bench.bar.value.setText(wrong)
        assert bench.bar.tick_mm is None and not bench.bar.use.isEnabled()
        assert bench.bar.value.text() == wrong and why in bench.bar.says
    for text, tick_mm in (("2,5", 2.5), ("2.5", 2.5), ("2 cm", 20.0), ("20,000", 20.0)):
        bench.bar.value.setText(text)
        assert bench.bar.tick_mm == tick_mm and bench.bar.use.isEnabled()
    bench.bar.use.click()
    bench.until(lambda: bench.scale() is not None)
    assert bench.scale() == pytest.approx(20.0 / PITCH, rel=0.002)


def test_a_remembered_screen_needs_no_second_word(bench: Bench, clip: Any) -> None:
    path = clip(COUNT)
    bench.open(path)
    bench.until(bench.bar.isVisible)
    bench.bar.presets[1].click()
    bench.bar.keep.setChecked(True)
    bench.bar.use.click()
    bench.until(lambda: bool(layouts.load()[0]) and bench.scale() is not None)
    bench.review.close()
    kept = bench.until_kept("scale.npz")
    kept.unlink()  # what the clip itself keeps of its scale: another clip of this screen has none of that
    bench.review.open(path)
    bench.until(lambda: bench.scale() is not None and bench.is_done())
    assert bench.app_state.confirmed() == ()
    assert bench.review.automatic_of(3).spacing is not None
    assert not bench.bar.isVisible()


def test_on_a_depth_change_the_window_says_so_and_offers_what_is_there_instead(bench: Bench, clip: Any) -> None:
    bench.open(clip(CHANGE))
    bench.until(bench.bar.isVisible)
    bench.bar.presets[1].click()
    bench.bar.use.click()
    bench.until(lambda: bench.is_done() and bench.scale() is not None)
    spacings = [bench.review.automatic_of(index).spacing for index in range(COUNT)]
    assert [spacing is not None for spacing in spacings] == [True] * CHANGE + [False] * (COUNT - CHANGE)
    bench.go(CHANGE + 2)
    bench.until(bench.bar.isVisible)
    assert bench.said in WITHDRAWALS
    assert bench.scale() is None
    assert "Found instead" in bench.bar.says
    bench.bar.presets[1].click()
    bench.bar.use.click()
    bench.until(lambda: bench.is_done() and bench.scale() is not None)
    assert bench.scale() == pytest.approx(10.0 / PITCH / WIDER, rel=0.002)
    assert bench.said == ""
    given = [bench.review.automatic_of(index).spacing.y_mm_per_px for index in range(COUNT)]
    expected = [10.0 / PITCH] * CHANGE + [10.0 / PITCH / WIDER] * (COUNT - CHANGE)
    assert given == pytest.approx(expected, rel=0.002)


def test_a_ruler_that_was_confirmed_stays_with_its_clip(bench: Bench, clip: Any) -> None:
    path = clip(CHANGE)
    bench.open(path)
    bench.until(bench.bar.isVisible)
    bench.bar.presets[1].click()
    bench.bar.use.click()
    bench.until(lambda: bench.is_done() and bench.scale() is not None)
    before = [bench.review.automatic_of(index).spacing for index in range(COUNT)]
    bench.until_kept("scale.npz")
    bench.review.close()
    seen = len(bench.engine.seen)
    bench.review.open(path)
    bench.until(lambda: bench.scale() is not None and bench.is_done())
    assert len(bench.app_state.confirmed()) == 1
    assert [bench.review.automatic_of(index).spacing for index in range(COUNT)] == before
    assert len(bench.engine.seen) == seen and not bench.bar.isVisible()


def test_another_source_forgets_the_ruler(bench: Bench, clip: Any) -> None:
    bench.open(clip(COUNT))
    bench.until(bench.bar.isVisible)
    bench.bar.presets[1].click()
    bench.bar.use.click()
    bench.until(lambda: bench.scale() is not None)
    bench.review.open(clip(CHANGE))
    assert bench.app_state.confirmed() == ()
    bench.until(bench.bar.isVisible)


def test_live_a_ruler_is_found_confirmed_and_withdrawn_at_once(bench: Bench, clip: Any) -> None:
    """A recording stands in for the scanner: it is looped, so the old depth comes back after the change."""
    bench.live.open(str(clip(COUNT)))
    bench.until(bench.bar.isVisible)
    bench.bar.presets[1].click()
    bench.bar.use.click()
    bench.until(lambda: bench.scale() is not None)
    assert bench.scale() == pytest.approx(10.0 / PITCH, rel=0.002)
    bench.live.open(str(clip(CHANGE)))
    assert bench.app_state.confirmed() == ()
    bench.until(bench.bar.isVisible)
    bench.bar.presets[1].click()
    bench.bar.use.click()
    bench.until(lambda: bench.said in WITHDRAWALS)
    assert bench.scale() is None
