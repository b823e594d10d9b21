"""What was pointed at on the open source, and the worker that outlines it: for pointing, tracking and presenter."""

from __future__ import annotations

from collections.abc import Callable

from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.pipeline.annotations import AnnotationLayer, ClipAccess
from usviewer.pipeline.curve import Curve
from usviewer.pipeline.prompt_messages import LiveOutline
from usviewer.pipeline.prompt_run import Prompting, load_prompt_model


class PromptSession:
    """The annotations of one source. ``clip`` is None while its scale is not known, and for a live source."""

    def __init__(self, load: Callable[[], PromptModel] = load_prompt_model) -> None:
        self._load = load
        self._worker: Prompting | None = None
        self._layer = AnnotationLayer()
        self._clip: ClipAccess | None = None
        self._shown: LiveOutline | None = None

    @property
    def layer(self) -> AnnotationLayer:
        """All structures of the source, with undo."""
        return self._layer

    @property
    def clip(self) -> ClipAccess | None:
        """How the frames of the clip under review are got at."""
        return self._clip

    def set_clip(self, clip: ClipAccess | None) -> None:
        """The clip can be read with its scale; None: its scale is being looked for."""
        self._clip = clip

    def forget(self) -> None:
        """Another source is open: nothing was pointed at on it."""
        self._layer, self._clip, self._shown = AnnotationLayer(), None, None
        # The worker stays, with its models loaded; only following ends.
        if self._worker is not None:
            self._worker.cancel()
            self.rest()

    def curve(self) -> Curve | None:
        """The structure that is worked on over the clip; None where there is no clip or no outline."""
        if self._clip is None:
            return None
        return self._layer.curve(self._clip.count)

    # -- the worker

    @property
    def worker(self) -> Prompting | None:
        """Who runs the prompt model; None before pointing was first turned on, or where there is no model."""
        return self._worker

    def start(self) -> bool:
        """Start the worker; False where it runs already."""
        if self._worker is not None:
            return False
        self._worker = Prompting(self._load)
        self._worker.start()
        return True

    def rest(self) -> None:
        """Look at no picture and track nothing live; the worker stays."""
        if self._worker is not None:
            self._worker.end_live()
            self._worker.show(None)

    def stop(self) -> bool:
        """End the worker; False when it did not end in time."""
        worker, self._worker = self._worker, None
        return worker is None or worker.stop()

    # -- the picture that runs

    def live_outline(self) -> LiveOutline | None:
        """The newest live frame with its outline; None while nothing is tracked live."""
        if self._worker is None:
            return None
        return self._worker.live_outline()

    def note_shown(self, outline: LiveOutline) -> None:
        """This outline is on the screen: it stays with its picture when that is held."""
        self._shown = outline

    def take_shown(self) -> LiveOutline | None:
        """The outline that was on the screen last, once."""
        shown, self._shown = self._shown, None
        return shown
