"""Preferences: typed, whole, and one bad key costs only itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from usviewer.errors import UserError
from usviewer.settings import VERSION, Settings, load, save


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "settings.json"
    settings = Settings(model="nerve", mask="fill", mask_opacity=0.4, keys={"freeze": "F"}, mode="live", source="x")
    save(settings, path)
    assert load(path) == (settings, ())


def test_nothing_there_gives_the_defaults_without_a_word(tmp_path: Path) -> None:
    assert load(tmp_path / "none.json") == (Settings(), ())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", 3),
        ("mask_opacity", 7),
        ("mask_opacity", True),
        ("side_panels", 1),
        ("reference", None),
        ("keys", {"freeze": 1}),
        ("colour", "red"),
    ],
)
def test_a_bad_key_warns_and_costs_only_itself(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"version": VERSION, "engine": "cpu", key: value}))
    settings, problems = load(path)
    assert settings == Settings(engine="cpu")
    assert len(problems) == 1 and key in problems[0]


def test_a_key_of_an_earlier_version_is_no_reason_to_warn(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"version": VERSION, "bands": False}))
    assert load(path) == (Settings(), ())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', "\x00"])
def test_a_broken_file_gives_the_defaults_and_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    settings, problems = load(path)
    assert settings == Settings() and len(problems) == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        save(Settings(), tmp_path / "file" / "settings.json")
