"""How each panel of the window is made, when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from usviewer.view.panels.drawer import Panel

if TYPE_CHECKING:
    from usviewer.view.main_window import MainWindow


def panel_makers(window: MainWindow) -> Mapping[str, Callable[[], Panel]]:
    """The panels of a window by name; each brings its own imports only then."""

    def source() -> Panel:
        from usviewer.view.panels.source import SourcePanel

        return SourcePanel(window.desk, window.open_live, window.session.ask_for_file)

    def model() -> Panel:
        from usviewer.view.panels.model import ModelPanel

        return ModelPanel(window.desk)

    def scale() -> Panel:
        from usviewer.view.panels.scale import ScalePanel

        return ScalePanel(window.desk, lambda: window.run("calibrate"))

    def exam() -> Panel:
        from usviewer.view.panels.exam import ExamPanel

        return ExamPanel(window.desk, window.findings, window.go_to_frame)

    def overlay() -> Panel:
        from usviewer.view.panels.overlay import OverlayPanel

        return OverlayPanel(window.desk)

    def performance() -> Panel:
        from usviewer.view.panels.performance import PerformancePanel

        return PerformancePanel(window.desk, lambda: window.live.status)

    def keys() -> Panel:
        from usviewer.view.panels.keys import KeysPanel

        return KeysPanel(window.desk, lambda: window.actions_by_id, window.commands.take_keys)

    return {maker.__name__: maker for maker in (source, model, scale, exam, overlay, performance, keys)}
