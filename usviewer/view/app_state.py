"""What the controllers of the window share: the settings, the model, the scale, the displayed frame. No widgets."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from usviewer import settings as preferences
from usviewer.calibrate.calibration import NOTHING_STATED, StatedScale, state_scale
from usviewer.calibrate.ruler.watch import Confirmed
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.reading import Reading, Summary
from usviewer.overlay.items import AnnotatedFrame
from usviewer.overlay.scene import MaskStyle, Style
from usviewer.overlay.text import OF_THE_FRAME, TextContext
from usviewer.pipeline.analyzer import LoadedModel, load_model
from usviewer.pipeline.worker import FINISH_DEADLINE_S, Jobs
from usviewer.settings import Settings
from usviewer.units import Spacing

# What is being written is waited for (``pipeline.worker``). What is being read, or a model that loads, is given this
# long when the window closes; then it is left behind.
READS_S, LOADS_S = 2.0, 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Displayed:
    """The exact pair that is shown now, and what is said about it; ``is_current`` is False where numbers are withdrawn.

    ``pending``: the picture stands bare only because its reading is being made, and will be there in a moment.
    ``newest`` is the newest picture of a live source that runs; None where the picture is held, or of a clip.
    ``context`` decides which number is large.
    """

    frame: Frame | None = None
    reading: Reading | None = None
    summary: Summary | None = None
    shown: AnnotatedFrame | None = None
    note: str = ""
    is_current: bool = True
    pending: bool = False
    newest: Frame | None = None
    context: TextContext = OF_THE_FRAME


class AppState(QObject):
    """Shared by the controllers; owns no mode and no widget. Everything here is called in the window's thread.

    ``on_screen`` is set by the presenter alone. ``failed``, ``noticed`` and ``mended`` are for whoever tells the user:
    an error, a sentence that matters, and what no longer holds, each with the key of its message.
    """

    failed = Signal(object, str)  # UserError, key
    noticed = Signal(str, str)  # text, key
    mended = Signal(str)  # key
    engine_changed = Signal()
    style_changed = Signal()
    scale_changed = Signal()
    given_changed = Signal()
    shown_changed = Signal()

    def __init__(self, settings: Settings, settings_path: Path | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.jobs = Jobs("files")
        self.loads = Jobs("loads")
        # Of its own: an engine that is built for minutes holds up nothing else.
        self._engines = Jobs("engines")
        self.settings = settings
        self.style = _style_of(settings)
        self.on_screen = Displayed()
        self.loading = False
        self._loading_id = ""
        self.engine_problem = ""
        self._settings_path = settings_path
        self._kept_settings = settings
        self._engine: LoadedModel | None = None
        self.stated_scale = NOTHING_STATED
        self.given = NO_CONTEXT

    def tick(self) -> None:
        """Deliver what the workers have finished."""
        self.jobs.poll()
        self.loads.poll()
        self._engines.poll()

    def close(self) -> bool:
        """Finish what is being written; False when a worker did not end in time. They all end at the same time."""
        self._engines.cancel()
        _end_trials()
        began_s = time.monotonic()
        deadlines_s = ((self._engines, LOADS_S), (self.loads, READS_S), (self.jobs, FINISH_DEADLINE_S))
        for jobs, _ in deadlines_s:
            jobs.request_stop()
        # Each of them, also after one that did not end: what is being written must not be cut off.
        ended = [jobs.stop(max(0.0, began_s + deadline_s - time.monotonic())) for jobs, deadline_s in deadlines_s]
        return all(ended)

    # -- preferences

    def set_setting(self, name: str, value: Any) -> None:
        """Change one preference and keep it (in a worker; one sentence when it cannot be written)."""
        if getattr(self.settings, name) == value:
            return
        self.settings = replace(self.settings, **{name: value})
        self.jobs.submit(
            partial(preferences.save, self.settings, self._settings_path, before=self._kept_settings),
            partial(self._settings_are_kept, self.settings),
            lambda error: self.failed.emit(error, "settings"),
        )
        if name in ("mask", "mask_opacity"):
            self.set_style(_style_of(self.settings))

    def _settings_are_kept(self, kept: Settings, _written: None) -> None:
        self._kept_settings = kept

    def set_style(self, style: Style) -> None:
        """Draw the overlay in this style from now on, also on the picture that is shown."""
        if style != self.style:
            self.style = style
            self.style_changed.emit()

    def hide_overlay(self, hidden: bool) -> None:
        """The untouched picture, or the overlay again."""
        self.set_style(replace(self.style, hidden=hidden))

    # -- the model

    def engine(self) -> LoadedModel | None:
        """The model that is loaded; None while it loads, or when there is none."""
        return self._engine

    def load_model(self, model_id: str, engine: str) -> None:
        """Load a model in the background; the old one goes on until the new one is ready."""
        self._engines.cancel()
        if self.loading:
            _end_trials(self._loading_id)
        self.loading, self.engine_problem, self._loading_id = True, "", model_id
        self._engines.submit(partial(load_model, model_id, engine), self._loaded, self._not_loaded)
        self.engine_changed.emit()

    def choose_model(self, model_id: str) -> None:
        """The user's choice of model, kept for the next start."""
        self.set_setting("model", model_id)
        self.load_model(model_id, self.settings.engine)

    def choose_engine(self, engine: str) -> None:
        """The user's choice of engine, kept for the next start."""
        self.set_setting("engine", engine)
        self.load_model(self.settings.model, engine)

    def set_engine(self, engine: LoadedModel | None) -> None:
        """Work with this model from now on."""
        self._engine = engine
        self.loading = False
        self.engine_changed.emit()

    def _loaded(self, engine: LoadedModel) -> None:
        if engine.notice:
            self.noticed.emit(engine.notice, "engine")
        self.mended.emit("model")
        self.set_engine(engine)

    def _not_loaded(self, error: UserError) -> None:
        self.loading, self.engine_problem = False, str(error)
        self.failed.emit(error, "model")
        self.engine_changed.emit()

    # -- the scale

    def user_spacing(self) -> Spacing | None:
        """The scale that the user has given for this source; None where there is none."""
        return self.stated_scale.spacing

    def set_user_spacing(self, spacing: Spacing | None) -> None:
        """Take a scale for the source that is open, or take it back.

        Raises ``UserError`` when nothing is shown, or when the picture brings a scale of its own that contradicts it.
        """
        frame = self.on_screen.frame
        if spacing is not None and frame is None:
            raise UserError("There is no picture to give a scale to", "Open a source first")
        said = state_scale(frame, spacing) if spacing is not None and frame is not None else NOTHING_STATED
        self.set_stated_scale(said)

    def forget_scale(self) -> None:
        """Forget the user's scale, which is not for another source."""
        if self.stated_scale != NOTHING_STATED:
            self.set_stated_scale(NOTHING_STATED)

    def confirmed(self) -> tuple[Confirmed, ...]:
        """The rulers that the user has confirmed for this source, each from one of its frames on."""
        return self.stated_scale.confirmed

    def set_confirmed(self, confirmed: tuple[Confirmed, ...]) -> None:
        """Measure by these rulers, instead of any other scale of the user's."""
        self.set_stated_scale(StatedScale(confirmed=confirmed, from_start=False))

    def set_stated_scale(self, said: StatedScale) -> None:
        """Measure by what the user says of the scale of the source that is open."""
        self.stated_scale = said
        self.scale_changed.emit()

    # -- what the operator says

    def set_given(self, given: ExamContext) -> None:
        """Take the operator's word on the source that is open: plane, site, age."""
        if given != self.given:
            self.given = given
            self.given_changed.emit()

    # -- what is shown

    def set_displayed(self, displayed: Displayed) -> None:
        """Another picture, or another reading of it, is on the screen (``Presenter`` decides which)."""
        self.on_screen = displayed
        self.shown_changed.emit()


def _end_trials(model_id: str = "") -> None:
    """End the first run of a model that may never finish it, or of all; nothing is imported for that."""
    if (trial := sys.modules.get("usviewer.infer.trial")) is not None:
        trial.stop(model_id)


def _style_of(settings: Settings) -> Style:
    """How the overlay is drawn on the screen: the numbers and the research line have their own places there."""
    mask = MaskStyle(settings.mask) if settings.mask in set(MaskStyle) else MaskStyle.OUTLINE
    return Style(mask=mask, fill_alpha=settings.mask_opacity, numbers=False, research_line=False)
