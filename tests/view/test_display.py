"""Without a screen, or without what Qt needs of the system: one sentence, where Qt would end the program."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.helpers.displays import Display, virtual_display
from usviewer import view
from usviewer.errors import UserError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a screen")


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libxcb-cursor.so.0", "libxcb-cursor0"),
        ("libxcb-icccm.so.4", "libxcb-icccm4"),
        ("libxkbcommon-x11.so.0", "libxkbcommon-x11-0"),
        ("libEGL.so.1", "libegl1"),
        ("libglib-2.0.so.0", ""),  # not called after it
    ],
)
def test_a_missing_library_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, library: str, package: str
) -> None:
    said = f"{library}: cannot open shared object file: No such file or directory"

    def load(name: str) -> Any:
        raise OSError(said)

    monkeypatch.setattr(view.ctypes, "CDLL", load)
    with pytest.raises(UserError) as caught:
        view._check_x11(":0")
    assert library in str(caught.value)
    assert str(caught.value).endswith(f"apt install {package}." if package else "your system's packages.")
    assert str(view.no_qt(ImportError(said))) == str(caught.value)


def test_qt_that_is_not_installed_is_said() -> None:
    assert "pip install" in str(view.no_qt(ModuleNotFoundError("No module named 'PySide6'")))


def test_a_screen_that_answers_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with virtual_display() as screen:
        assert isinstance(screen, Display)
        view._check_x11(screen.name)
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(UserError, match="':987' that DISPLAY names does not answer"):
        view._check_x11(":987")
