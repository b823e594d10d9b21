"""Runs in a process of its own, in its environment's language: what is typed and written there, as JSON on stdout."""

from __future__ import annotations

import argparse
import ctypes
import json
import locale
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXTS = (
    *(
        "52.5",
        "52,5",
        "7.25",
        "7,25",
        "0.213",
        "0,213",
        "1,05",
        "1,234",
        "1.234",
        "52,500",
        "1.000",
        "1 234",
        "1.234,5",
    ),
    *(
        "5 cm",
        "5,25 cm",
        "52.5 mm",
        "1e1",
        "nan",
        "\u0665",
        "0.21x0.25",
        "0,21x0,25",
        "28+3",
        "28,50",
        "28.3",
        "I",
        "\u0131",
    ),
)

_PARTS: list[object] = []  # kept until the end


def main() -> None:
    """Every field, every option, and one analysis."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    out: dict[str, Any] = {"options": options()}
    os.makedirs("out", exist_ok=True)
    out["analyze"] = analyze()
    out.update(window())
    print(json.dumps(out), flush=True)
    os._exit(0)  # parts of a window without the window: nothing says in which order they may go


def read(value: Callable[[], Any]) -> Any:
    """What comes of it; the sentence where it is refused."""
    from usviewer.errors import UserError

    try:
        return value()
    except (UserError, argparse.ArgumentTypeError) as error:
        return f"refused: {error}"


def options() -> dict[str, Any]:
    """What each option makes of each text."""
    from usviewer.__main__ import build_parser
    from usviewer.acquire.device.backend import asked_formats
    from usviewer.acquire.phantom.spec import parse_phantom_uri
    from usviewer.acquire.screen import parse_screen_uri
    from usviewer.calibrate.calibration import spacing_from_text
    from usviewer.measure.findings.biometry import weeks_from_text

    def option(command: str, name: str, *before: str) -> Callable[[str], Any]:
        parser = build_parser(command)
        return lambda text: getattr(parser.parse_args([command, *before, f"--{name}={text}"]), name.replace("-", "_"))

    readers: dict[str, Callable[[str], Any]] = {
        "analyze --ruler-tick-mm": option("analyze", "ruler-tick-mm", "clip"),
        "calibrate --tick-mm": option("calibrate", "tick-mm", "clip"),
        "calibrate --across-tick-mm": option("calibrate", "across-tick-mm", "clip"),
        "evaluate --scale-sd": option("evaluate", "scale-sd", "model", "data"),
        "bench --live": option("bench", "live"),
        "bench --rate": option("bench", "rate"),
        "latency-test --hold-ms": option("latency-test", "hold-ms"),
        "--mm-per-pixel": lambda text: spacing_from_text(text).words(),
        "--gestational-age-weeks": weeks_from_text,
        "phantom: ap_mm": lambda text: parse_phantom_uri(f"phantom:?ap_mm={text}").ap_mm,
        "screen: rate": lambda text: parse_screen_uri(f"screen:?rate={text}").rate,
        "device: rate": lambda text: asked_formats(f"device:x?size=640x480&rate={text}")[0].rate,
    }
    return {name: {text: read(lambda r=reader, t=text: r(t)) for text in TEXTS} for name, reader in readers.items()}


def analyze() -> int:
    """The sample through the bundled model, with a scale that is typed with a comma."""
    from usviewer.__main__ import main as usviewer

    return usviewer(["analyze", "clip.mp4", "--mm-per-pixel", "0,5144", "--out", "out"])


def window() -> dict[str, Any]:
    """What each field of the window makes of each text that is typed into it, and what it shows."""
    from PySide6.QtCore import QEvent, Qt
    from PySide6.QtGui import QKeyEvent
    from PySide6.QtWidgets import QApplication, QLineEdit

    from usviewer.settings import Settings
    from usviewer.view import keep_decimal_point
    from usviewer.view.app_state import AppState
    from usviewer.view.canvas import Canvas
    from usviewer.view.notify import Notify
    from usviewer.view.panels.exam_panel import ExamPanel
    from usviewer.view.panels.scale_panel import ScalePanel
    from usviewer.view.ruler_bar import RulerBar
    from usviewer.view.tool_bar import ToolBar
    from usviewer.view.tool_controller import ToolController

    application = QApplication([])
    told = locale.localeconv()["decimal_point"]
    keep_decimal_point()
    strtod = ctypes.CDLL(None).strtod
    strtod.restype = ctypes.c_double
    app_state = AppState(Settings(), Path("settings.json"))
    canvas, notify = Canvas(), Notify()
    hand, ruler = ToolController(app_state, canvas, notify), RulerBar(lambda _mm, _keep: None, lambda: None)
    bar = ToolBar(hand, canvas, notify)
    scale, exam = ScalePanel(app_state, notify, None), ExamPanel(app_state, notify, lambda: None, lambda: None)  # type: ignore[arg-type,return-value]

    given: list[Any] = []
    app_state.set_user_spacing = lambda spacing: given.append(spacing.words())  # type: ignore[method-assign,union-attr]

    def of_scale() -> Any:
        given.clear()
        scale.use_typed()
        return given[0] if given else said()

    def of_exam() -> Any:
        app_state.given = type(app_state.given)()
        exam.use_age()
        return app_state.given.gestational_age_weeks or said()

    def said() -> Any:
        return notify.current.text if notify.current else None

    fields: dict[str, tuple[QLineEdit, Callable[[], Any]]] = {
        "distance of two points": (bar.distance, bar.distance.value),
        "tick of a ruler": (ruler.value, ruler.value.value),
        "mm per pixel": (scale.typed, of_scale),
        "gestational age": (exam.age, of_exam),
    }
    found: dict[str, dict[str, Any]] = {name: {} for name in fields}
    for name, (field, value) in fields.items():
        for text in TEXTS:
            field.clear()
            for letter in text:
                application.sendEvent(field, QKeyEvent(QEvent.Type.KeyPress, 0, Qt.KeyboardModifier.NoModifier, letter))
            typed = field.text()
            found[name][text] = [typed, read(value)]
    bar.distance.setValue(52.5)
    ruler.value.setValue(0.25)
    shown = [bar.distance.text(), ruler.value.text()]
    app_state.close()
    _PARTS.extend((application, app_state, canvas, notify, hand, bar, ruler, scale, exam))
    return {"told_point": told, "fields": found, "shown": shown, "strtod": strtod(b"16.5", None)}


if __name__ == "__main__":
    main()
