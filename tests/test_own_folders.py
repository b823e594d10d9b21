"""The program finds what ships with it, and what it keeps is for its user alone; in a user's folder the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from PIL import ImageFont

from usviewer import settings
from usviewer.files import make_folder, write_bytes, write_text
from usviewer.own_folders import own_folders, own_root, pictures_folder, resource_path

of_posix = pytest.mark.skipif(os.name != "posix", reason="rights of others are of POSIX systems")


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@of_posix
def test_settings_are_for_the_user_alone_though_an_earlier_version_left_them_open(tmp_path: Path) -> None:
    path = settings.settings_path()
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert rights(path) == 0o644
    settings.save(settings.Settings())
    assert rights(path) == 0o600 and rights(path.parent) == 0o700


@of_posix
def test_every_own_folder_is_closed_with_all_between(tmp_path: Path) -> None:
    for root in own_folders():
        folder = make_folder(root / "a" / "b")
        write_bytes(folder / "file", b"x")
        assert [rights(each) for each in (root, root / "a", folder, folder / "file")] == [0o700, 0o700, 0o700, 0o600]


@of_posix
def test_a_folder_that_the_user_named_follows_the_umask(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "results" / "clip")
    write_text(folder / "a.txt", "a")
    assert rights(folder) == 0o755 and rights(folder / "a.txt") == 0o644
    os.umask(0o027)
    write_text(folder / "b.txt", "b")
    assert rights(folder / "b.txt") == 0o640


@of_posix
def test_pictures_without_a_folder_of_the_users_are_own(tmp_path: Path) -> None:
    assert pictures_folder() == Path(platformdirs.user_pictures_dir()) / "usviewer"
    assert own_root(pictures_folder() / "a.png") == pictures_folder()
    assert own_root(pictures_folder().parent / "a.png") is None


def test_the_letters_and_their_licence_are_there():
    for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"):
        assert ImageFont.truetype(resource_path("resources", "fonts", name), 12).getname()[0] == "DejaVu Sans"
    assert "Bitstream Vera" in resource_path("resources", "fonts", "LICENSE_DEJAVU.txt").read_text(encoding="utf-8")


def test_what_the_wheel_carries_comes_first(tmp_path, monkeypatch):
    package = tmp_path / "usviewer"
    monkeypatch.setattr("usviewer.own_folders._PACKAGE", package)
    assert resource_path("resources", "a.txt") == tmp_path / "resources" / "a.txt"
    inside = package / "_bundled" / "resources" / "a.txt"
    inside.parent.mkdir(parents=True)
    inside.write_text("x")
    assert resource_path("resources", "a.txt") == inside
