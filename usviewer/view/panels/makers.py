"""How each panel of the window is made, when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from usviewer.view.panels.side_panel import PanelBase

if TYPE_CHECKING:
    from usviewer.view.main_window import MainWindow


def panel_makers(window: MainWindow) -> Mapping[str, Callable[[], PanelBase]]:
    """The panels of a window by name; each brings its own imports only then."""

    def source() -> PanelBase:
        from usviewer.view.panels.source_panel import SourcePanel

        return SourcePanel(window.desk, window.open_live, window.session.ask_for_file)

    def model() -> PanelBase:
        from usviewer.view.panels.model_panel import ModelPanel

        return ModelPanel(window.desk)

    def scale() -> PanelBase:
        from usviewer.view.panels.scale_panel import ScalePanel

        return ScalePanel(window.desk, lambda: window.run("calibrate"))

    def exam() -> PanelBase:
        from usviewer.view.panels.exam_panel import ExamPanel

        return ExamPanel(window.desk, window.findings, window.go_to_frame)

    def overlay() -> PanelBase:
        from usviewer.view.panels.overlay_panel import OverlayPanel

        return OverlayPanel(window.desk)

    def performance() -> PanelBase:
        from usviewer.view.panels.performance_panel import PerformancePanel

        return PerformancePanel(window.desk, lambda: window.live.status)

    def keys() -> PanelBase:
        from usviewer.view.panels.keys_panel import KeysPanel

        return KeysPanel(window.desk, lambda: window.actions_by_id, window.commands.take_keys)

    return {maker.__name__: maker for maker in (source, model, scale, exam, overlay, performance, keys)}
