"""Pointing: click, exclude, box, undo, name, correct, follow, live; by the real hand on a real clip of a known disc."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PySide6.QtCore import Qt

from tests.helpers.fakes import FakeEngine
from tests.helpers.prompt_graphs import recorded_prompt_model
from tests.helpers.recordings import write_clip
from tests.helpers.workbench import RIGHT, Workbench
from usviewer.errors import UserError
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.measure.reading import Provenance, Status
from usviewer.pipeline.annotations import Origin
from usviewer.pipeline.prompt_run import NoModel
from usviewer.units import ScaleSource, isotropic
from usviewer.view.live_controller import LiveController
from usviewer.view.pointing import PromptSession
from usviewer.view.prompt_controller import PromptController
from usviewer.view.tool_controller import ManualTool
from usviewer.view.tracking_controller import TrackingController

SIZE, COUNT, RADIUS, STEP = (256, 192), 12, 26, 3.0
CUT = 9


def centre(index: int) -> tuple[float, float]:
    return 90.0 + STEP * index, 96.0


def picture(index: int, *, disc: bool = True, seed: int = 3) -> Any:
    """A dark disc that moves to the right over speckle that moves with it."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 40, (SIZE[1], SIZE[0] * 2)), (0, 0), 1.5) * 2.2
    shift = round(STEP * index)
    ground = 150 + noise[:, 64 - shift : 64 - shift + SIZE[0]]
    if disc:
        x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
        inside = np.hypot(x - centre(index)[0], y - centre(index)[1]) < RADIUS
        ground = np.where(inside, 25 + 0.1 * (ground - 150), ground)
    return np.repeat(np.clip(ground, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return recorded_prompt_model(tmp_path_factory.mktemp("models") / "test-prompt")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "disc.mp4"
    pictures = [picture(k) if k < CUT else picture(k, disc=False, seed=9) for k in range(COUNT)]
    return write_clip(path, count=COUNT, size=SIZE, pictures=pictures, options={"crf": "12"})


class Bench(Workbench):
    """Review and live with pointing."""

    def __init__(self, qtbot: Any, folder: Path, load: Any) -> None:
        super().__init__(qtbot, folder)
        self.app_state.set_engine(replace(FakeEngine().engine(), labels=("aorta",)))
        self.live = LiveController(self.app_state, self.presenter, self.notify)
        told = (self.app_state, self.presenter, self.notify, self.live, self.review)
        self.session = PromptSession(load)
        self.tracking = TrackingController(*told, self.session)
        self.prompt = PromptController(*told, self.hand, self.session, self.tracking)
        qtbot.addWidget(self.prompt.bar)

    def turn(self) -> None:
        self.app_state.tick()
        self.live.tick()
        self.review.tick()
        self.prompt.tick()

    def go(self, index: int) -> None:
        self.review.go(index)
        self.until(lambda: self.index == index)

    def point(self, at: tuple[float, float], button: Any = Qt.MouseButton.LeftButton) -> None:
        self.click(at, button)
        self.until(lambda: not self.prompt.waiting)

    def follow(self, **ways: bool) -> None:
        self.tracking.follow(**ways)
        self.until(lambda: not self.following)
        self.turn()  # the last frame may have come between the last turn and the look at the worker

    @property
    def following(self) -> bool:
        return self.session.worker.state().followed is not None

    @property
    def reading(self) -> Any:
        return self.app_state.on_screen.reading

    @property
    def marks(self) -> dict[int, Any]:
        return self.session.layer.structure.marks

    def area(self) -> float:
        return self.reading.get("area").value_px


@pytest.fixture
def bench(qtbot: Any, tmp_path: Path, themed: object, spec: ModelSpec, clip: Path) -> Iterator[Bench]:
    made = Bench(qtbot, tmp_path, partial(PromptModel, spec, threads=1, spinning=False))
    made.open(clip)
    made.prompt.toggle()
    made.until(lambda: not made.session.worker.state().loading)
    yield made
    made.live.stop()
    assert made.prompt.close()
    made.close()


def test_a_click_outlines_and_measures_what_it_points_at(bench: Bench) -> None:
    bench.go(2)
    bench.point(centre(2))
    reading = bench.reading
    assert reading.provenance is Provenance.PROMPTED and reading.status is Status.MEASURED
    assert bench.area() == pytest.approx(np.pi * RADIUS**2, rel=0.25)
    assert reading.get("long_axis").value_px == pytest.approx(2 * RADIUS, rel=0.15)
    assert reading.get("long_axis").value_mm is None and reading.no_scale_reason
    assert reading.key == bench.app_state.on_screen.frame.key == bench.canvas.scene.key
    assert bench.app_state.on_screen.frame.key.index == 2
    bench.go(3)  # another picture: nothing of the one before is drawn on it, nor the loaded model's
    assert bench.reading is None


def test_a_box_and_a_right_click_and_undo(bench: Bench) -> None:
    x, y = centre(0)
    bench.drag((x - 30, y - 30), (x + 30, y + 30))
    bench.until(lambda: bench.reading is not None and bench.reading.provenance is Provenance.PROMPTED)
    mark = bench.marks[0]
    assert mark.prompt.box_xyxy_px == pytest.approx((x - 30, y - 30, x + 30, y + 30), abs=1.0)
    before = bench.area()
    bench.point((x + 60, y), RIGHT)
    assert bench.marks[0].prompt.positive == (False,)
    bench.hand.undo()
    bench.turn()
    assert bench.marks[0].prompt is mark.prompt and bench.area() == pytest.approx(before)
    bench.hand.undo()
    bench.turn()
    assert bench.session.layer.empty
    assert bench.reading.finding == "aorta"  # the loaded model's own again


def test_a_right_click_alone_is_explained(bench: Bench) -> None:
    bench.click(centre(0), RIGHT)
    assert "Click on the structure first" in bench.said


def test_clicks_that_are_faster_than_the_answer_are_all_taken(bench: Bench) -> None:
    x, y = centre(0)
    bench.click((x, y))
    bench.click((x + 8, y))
    bench.click((x + 70, y), RIGHT)
    bench.until(lambda: not bench.prompt.waiting and bool(bench.marks))
    assert bench.marks[0].prompt.positive == (True, True, False)


def test_an_outline_in_doubt_is_dashed_and_says_why(bench: Bench) -> None:
    bench.go(CUT + 1)
    bench.point((40.0, 40.0))  # nothing but speckle
    outlines = [item for item in bench.canvas.scene.items if type(item).__name__ == "Outline"]
    assert bench.reading.uncertain and bench.reading.warnings
    assert all(str(item.line) == "dashed" for item in outlines)
    assert bench.prompt.bar.says == bench.marks[CUT + 1].why


def test_several_structures_each_with_its_name(bench: Bench) -> None:
    bench.point(centre(0))
    bench.prompt.name("cyst")
    bench.until(lambda: bench.reading.finding == "cyst")
    bench.prompt.begin()
    bench.point((200.0, 40.0))
    assert [s.label for s in bench.session.layer.structures] == ["cyst", "structure"]
    assert bench.reading.finding == "structure" and bench.reading.labels[1:] == ("cyst",)
    assert bench.presenter.shows_annotation and bench.presenter.model_label() == ""
    bench.prompt.next_structure()
    bench.prompt.correct()  # at once: it is the structure in hand that is corrected, not the one still on the screen
    x, y = centre(0)
    assert bench.hand.mask.mask[round(y), round(x)] and not bench.hand.mask.mask[40, 200]
    bench.turn()
    assert bench.reading.finding == "cyst"
    bench.prompt.clear()
    bench.turn()
    assert bench.session.layer.empty
    bench.hand.undo()
    bench.turn()
    assert bench.reading.finding == "cyst"


def test_following_goes_both_ways_and_notices_the_cut(bench: Bench) -> None:
    bench.go(4)
    bench.point(centre(4))
    bench.follow(forwards=True, backwards=True)
    followed = {index for index, mark in bench.marks.items() if mark.instance is not None}
    assert followed == set(range(CUT))
    for index in range(CUT):
        at = np.asarray(bench.marks[index].reading.outlines_xy_px[0]).mean(axis=0)
        assert at == pytest.approx(centre(index), abs=4.0)
    assert bench.marks[CUT].why and bench.marks[CUT].instance is None
    assert f"Lost on frame {CUT}." in bench.said  # the numbers of every table
    bench.go(7)
    assert bench.reading.key == bench.app_state.on_screen.frame.key
    shown = bench.session.layer.curve(COUNT)
    assert np.isfinite(shown.values[:CUT]).all() and np.isnan(shown.values[CUT:]).all()
    assert bench.app_state.on_screen.summary.count == CUT
    bench.review.go_to_maximum()  # that of the curve on the timeline, not the model's
    bench.until(lambda: bench.index == shown.summary.maximum_key.index)


def test_a_corrected_frame_is_followed_anew_and_kept(bench: Bench) -> None:
    bench.go(0)
    bench.point(centre(0))
    bench.follow(forwards=True, backwards=False)
    before = bench.marks[6]
    bench.go(5)
    bench.prompt.correct()
    assert bench.hand.chosen is ManualTool.CORRECT
    bench.hand.mask.use_brush()
    bench.hand.mask.radius_px = 10.0
    x, y = centre(5)
    bench.drag((x + 20, y), (x + 30, y))
    bench.until(lambda: bench.marks[5].by is Origin.DRAWN and not bench.following and bench.marks[6] is not before)
    assert bench.reading.provenance is Provenance.EDITED
    assert bench.marks[0].by is Origin.POINTED
    bench.hand.cancel_tool()
    drawn = bench.marks[5]
    bench.go(2)
    bench.point(centre(2))  # a click on a frame it was followed to: refined, and on from there as far as the drawn one
    bench.until(lambda: not bench.following)
    assert bench.marks[5] is drawn and bench.marks[2].by is Origin.POINTED


def test_following_can_be_stopped(bench: Bench) -> None:
    bench.point(centre(0))
    bench.tracking.follow(forwards=True, backwards=False)
    bench.tracking.stop_following()
    assert not bench.following
    count = len(bench.marks)
    bench.go(1)
    assert len(bench.marks) == count


def test_without_an_outline_there_is_nothing_to_follow(bench: Bench) -> None:
    with pytest.raises(UserError, match="Nothing is outlined"):
        bench.tracking.follow(forwards=True, backwards=False)


def test_the_neighbours_are_encoded_ahead(bench: Bench) -> None:
    bench.go(5)
    model = bench.session.worker._model
    frames = [bench.session.worker._clip.calibrate(_frame(bench, index)) for index in (4, 6)]
    bench.until(lambda: all(model.embedding(frame) is not None for frame in frames))


def _frame(bench: Bench, index: int) -> Any:
    from usviewer.acquire import open_source

    with open_source(bench.review.path) as source:
        return source.seek(index)


def test_it_is_kept_with_its_prompts_and_exported_like_any_analysis(bench: Bench, tmp_path: Path) -> None:
    bench.point(centre(0))
    bench.prompt.name("cyst")
    bench.until(lambda: bench.reading.finding == "cyst")
    bench.follow(forwards=True, backwards=False)
    bench.keep.save_picture(prompts=bench.prompt.prompts())
    bench.until(lambda: "Saved" in bench.said)
    (kept,) = bench.kept.glob("*.json")
    (prompt,) = json.loads(kept.read_text())["prompts"]
    assert (prompt["label"], prompt["by"], prompt["positive"]) == ("cyst", "pointed at", [True])
    assert prompt["points_xy_px"][0] == pytest.approx(centre(0), abs=1.0)
    bench.prompt.export(bench.kept)
    bench.until(lambda: "Exported" in bench.said)
    (folder,) = (path for path in bench.kept.iterdir() if path.is_dir())
    rows = list(csv.DictReader((folder / "readings.csv").read_text().splitlines()))
    assert len(rows) == CUT + 1 and float(rows[3]["long_axis_px"]) == pytest.approx(2 * RADIUS, rel=0.25)
    assert {row["provenance"] for row in rows} == {"pointed at"} and rows[0]["finding"] == "cyst"
    coco = json.loads((folder / "masks.json").read_text())
    assert coco["categories"] == [{"id": 1, "name": "cyst"}] and len(coco["annotations"]) == CUT
    assert (folder / "summary.json").is_file() and (folder / "annotated.mp4").is_file()


def test_outlines_of_the_models_own_structure_become_corrections(bench: Bench) -> None:
    bench.point(centre(0))
    with pytest.raises(UserError):
        bench.prompt.take_as_corrections()
    bench.prompt.name("aorta")
    bench.follow(forwards=True, backwards=False)
    bench.prompt.take_as_corrections()
    bench.until(lambda: len(bench.review.edits) == CUT)
    bench.prompt.toggle()
    bench.until(lambda: bench.reading is not None and bench.reading.provenance is Provenance.EDITED)


def test_off_shows_the_loaded_models_reading_again(bench: Bench) -> None:
    bench.point(centre(0))
    bench.prompt.toggle()
    bench.turn()
    assert bench.reading.finding == "aorta" and bench.canvas.tool is None
    assert not bench.presenter.shows_annotation and bench.presenter.model_label()
    bench.prompt.toggle()
    bench.turn()
    assert bench.reading.provenance is Provenance.PROMPTED


def test_live_it_is_held_pointed_at_and_follows_when_let_go(bench: Bench, clip: Path, tmp_path: Path) -> None:
    loop = write_clip(tmp_path / "loop.mp4", count=8, size=SIZE, options={"crf": "12"},
                      pictures=[picture(k if k < 4 else 8 - k) for k in range(8)])  # fmt: skip
    bench.prompt.toggle()
    bench.review.close()
    bench.live.open(str(loop))
    bench.until(lambda: bench.app_state.on_screen.frame is not None)
    bench.prompt.toggle()
    assert bench.live.frozen
    bench.point(_centre_of(bench.app_state.on_screen.frame))
    assert bench.reading.provenance is Provenance.PROMPTED
    bench.live.freeze()
    seen: set[str] = set()

    def follows() -> bool:
        now = bench.app_state.on_screen
        if "Following" not in now.note or now.reading is None:
            return False
        assert now.reading.uncertain and now.reading.key == now.frame.key
        at = np.asarray(now.reading.outlines_xy_px[0]).mean(axis=0)
        assert at == pytest.approx(_centre_of(now.frame), abs=8.0)
        seen.add(now.frame.key.digest)
        return len(seen) >= 4

    bench.until(follows, 60_000)
    bench.live.freeze()
    bench.until(lambda: bench.session.layer.mark(bench.app_state.on_screen.frame) is not None)
    assert bench.session.layer.mark(bench.app_state.on_screen.frame).by is Origin.FOLLOWED


def _centre_of(frame: Any) -> tuple[float, float]:
    dark = cv2.GaussianBlur(frame.pixels[:, :, 0], (0, 0), 4) < 60
    rows, columns = np.nonzero(dark)
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def test_without_a_model_it_says_so_and_is_off_again(qtbot: Any, tmp_path: Path, themed: object, clip: Path) -> None:
    def none() -> PromptModel:
        raise NoModel("No model here outlines what it is pointed at", "Add one")

    made = Bench(qtbot, tmp_path, none)
    made.open(clip)
    made.prompt.toggle()
    made.until(lambda: not made.prompt.on)
    assert "No model" in made.said and made.canvas.tool is None
    assert made.prompt.close()
    made.close()


def test_another_scale_withdraws_every_length_and_measures_anew(bench: Bench) -> None:
    bench.point(centre(0))
    bench.follow(forwards=True, backwards=False)
    assert bench.marks[3].reading.get("long_axis").value_mm is None
    for mm_per_px in (0.5, 0.25):
        bench.app_state.set_user_spacing(isotropic(mm_per_px, ScaleSource.MANUAL))
        assert all(mark.reading.get("long_axis").value_mm is None for mark in _outlined(bench))
        bench.until(lambda: all(mark.reading.spacing is not None for mark in _outlined(bench)))
        for mark in _outlined(bench):
            length = mark.reading.get("long_axis")
            assert length.value_mm == pytest.approx(mm_per_px * length.value_px)
        bench.until(lambda: bench.reading is not None and bench.reading.spacing is not None)
        assert bench.app_state.on_screen.frame.geometry.regions[0].spacing == bench.reading.spacing


def _outlined(bench: Bench) -> list[Any]:
    return [mark for mark in bench.marks.values() if mark.instance is not None]


@pytest.mark.parametrize("width_px", [402, 618, 760])
def test_the_strip_cuts_no_word_however_narrow_it_is(bench: Bench, width_px: int) -> None:
    bar = bench.prompt.bar
    can = dict.fromkeys(("follows", "back", "both", "on", "brush", "undo", "clear", "new"), True)
    bar.show_state(None, said="", place=(1, 2), can=can)
    bar.show()
    bar.resize(width_px, bar.heightForWidth(width_px))
    bar.layout().activate()
    parts = [part for part in (bar.label, *bar._row) if not part.isHidden()]
    assert len(parts) == 10
    for part in parts:
        assert part.width() >= part.sizeHint().width() and bar.rect().contains(part.geometry())
    assert not any(a.geometry().intersects(b.geometry()) for a, b in itertools.combinations(parts, 2))
    assert bar._says.heightForWidth(bar._says.width()) <= bar._says.height()
