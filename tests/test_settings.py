"""Preferences: typed, whole, and one bad key costs only itself."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from usviewer.errors import UserError
from usviewer.settings import VERSION, Settings, load, save, settings_path


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
        ("mask_opacity", float("nan")),
        ("mask_opacity", float("inf")),
        ("mask_opacity", 10**400),
        ("keys", []),
        ("keys", {"freeze": "x" * 5000}),
        ("source", "a\0b"),
        ("source", "\ud812"),
        ("source", "x" * 5000),
        ("mode", "recorded"),
        ("geometry", "\u0130"),
        ("save_folder", {}),
        ("x" * 500, [[]]),
    ],
)
def test_a_bad_key_warns_and_costs_only_itself(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"version": VERSION, "engine": "cpu", key: value}))
    settings, problems = load(path)
    assert settings == Settings(engine="cpu")
    assert len(problems) == 1 and key[:40] in problems[0] and len(problems[0]) < 200


def test_a_key_of_an_earlier_version_is_no_reason_to_warn(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"version": VERSION, "bands": False}))
    assert load(path) == (Settings(), ())


BROKEN = {
    "empty": b"",
    "cut": b"{",
    "list": b"[]",
    "newer": b'{"version": 99, "model": "heart"}',
    "zero": b"\0",
    "deep": b"[" * 100_000,
    "deep objects": b'{"version":1,"keys":' * 50_000,
    "no text": b'{"version": 1, "model": "\xff\xfe\xfd"}',
    "long number": b'{"version": 1, "mask_opacity": ' + b"9" * 10_000 + b"}",
    "number": b"1e400",
    "huge": b'{"version": 1}' + b" " * 2_000_000,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_gives_the_defaults_and_one_sentence_and_is_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(BROKEN[kind])
    settings, problems = load(path)
    assert settings == Settings() and len(problems) == 1
    save(Settings(model="nerve"), path)
    assert load(path) == (Settings(model="nerve"), ())
    assert (tmp_path / "settings.json.damaged").read_bytes() == BROKEN[kind]
    save(Settings(model="aorta"), path)
    assert len(list(tmp_path.glob("*.damaged*"))) == 1  # a file that is understood needs no copy


def test_a_key_that_is_not_understood_is_kept_in_a_copy_too(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"version": 1, "engine": "cpu", "colour": "red"}')
    save(Settings(engine="cpu", model="nerve"), path, before=Settings(engine="cpu"))
    assert load(path) == (Settings(engine="cpu", model="nerve"), ())
    assert "red" in (tmp_path / "settings.json.damaged").read_text()


def test_what_is_no_file_is_not_read_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
    else:
        path.mkdir()
    assert load(path)[0] == Settings() and len(load(path)[1]) == 1
    with pytest.raises(UserError, match="no copy of it can be made"):
        save(Settings(), path)
    assert not path.is_file()


@pytest.mark.skipif(os.name == "nt", reason="a profile is closed to others by itself there")
def test_preferences_are_for_the_user_alone() -> None:
    settings_path().parent.mkdir(0o755, parents=True)
    settings_path().write_text("[[[[", encoding="utf-8")
    save(Settings())
    assert settings_path().parent.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in settings_path().parent.iterdir()} == {0o600}


def test_two_windows_keep_what_each_of_them_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    start = Settings(keys={"freeze": "F", "play": "P"})
    save(start, path)
    first = replace(start, model="nerve", keys={"freeze": "X", "play": "P"})
    save(first, path, before=start)
    second = replace(start, mask="fill", keys={"freeze": "F", "record": "W"})
    save(second, path, before=start)
    save(replace(first, side_panels=False), path, before=first)
    wanted = Settings(model="nerve", mask="fill", side_panels=False, keys={"freeze": "X", "record": "W"})
    assert load(path) == (wanted, ())


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        save(Settings(), tmp_path / "file" / "settings.json")


def test_a_key_that_is_no_text_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"version": 1, "\n\u001b[2J": 1}), encoding="utf-8")
    assert load(path)[1] == ("The preference '\\n\\x1b[2J' is not understood and was left out.",)
