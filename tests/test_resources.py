from __future__ import annotations

from PIL import ImageFont

from usviewer import resources
from usviewer.resources import resource_path


def test_the_letters_and_their_licence_are_there():
    for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"):
        assert ImageFont.truetype(resource_path("resources", "fonts", name), 12).getname()[0] == "DejaVu Sans"
    assert "Bitstream Vera" in resource_path("resources", "fonts", "LICENSE_DEJAVU.txt").read_text(encoding="utf-8")


def test_what_the_wheel_carries_comes_first(tmp_path, monkeypatch):
    package = tmp_path / "usviewer"
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resource_path("resources", "a.txt") == tmp_path / "resources" / "a.txt"
    inside = package / "_bundled" / "resources" / "a.txt"
    inside.parent.mkdir(parents=True)
    inside.write_text("x")
    assert resource_path("resources", "a.txt") == inside
