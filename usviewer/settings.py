"""The user's preferences: one typed, versioned file. A bad key warns and costs only itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import platformdirs

from usviewer.save.aside import make_folder, write_text

VERSION = 1
# Keys of earlier versions that say nothing any more.
_RETIRED = frozenset({"version", "bands"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is remembered between two starts, with its default.

    ``model`` is the model's id; ``engine`` what is asked for ("auto" lets the program measure and choose);
    ``mask`` how the outline is drawn; ``mask_opacity`` of the fill; ``keep_surroundings`` leaves burnt-in text
    in exports; ``reference`` is the table that an aorta's largest diameter is compared with ("" is none); ``keys``
    maps an action to the user's own key;
    ``source`` is what was open last, and ``mode`` how: "live", "review", or "" before the first time; ``save_folder``
    is where pictures and recordings go ("" is the platform's picture folder); ``side_panels`` shows the rail and the
    timeline; ``geometry`` is the window's place, in the toolkit's own words.
    """

    model: str = "aorta"
    engine: str = "auto"
    mask: str = "outline"
    mask_opacity: float = 0.25
    keep_surroundings: bool = False
    reference: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    save_folder: str = ""
    mode: str = ""
    side_panels: bool = True
    geometry: str = ""


def settings_path() -> Path:
    """Where the preferences are kept (the platform's own folder)."""
    return Path(platformdirs.user_config_dir("usviewer", appauthor=False)) / "settings.json"


def load(path: Path | None = None) -> tuple[Settings, tuple[str, ...]]:
    """The preferences and what was wrong with them, a sentence each; defaults where nothing (good) is there."""
    path = path or settings_path()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(), ()
    except (OSError, ValueError):
        return Settings(), ("The preferences could not be read: the defaults are used.",)
    if not isinstance(document, dict) or document.get("version") != VERSION:
        return Settings(), ("The preferences are of another version: the defaults are used.",)
    return _accept(document)


def _accept(document: Mapping[str, Any]) -> tuple[Settings, tuple[str, ...]]:
    settings, problems = Settings(), []
    known = {each.name for each in fields(Settings)}
    for key, value in document.items():
        if key in _RETIRED:
            continue
        if key not in known or not _fits(key, value):
            problems.append(f"The preference '{key}' is not understood and was left out.")
            continue
        settings = replace(settings, **{key: value})
    return settings, tuple(problems)


def _fits(key: str, value: object) -> bool:
    default = getattr(Settings(), key)
    if get_type_hints(Settings)[key] is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0
    if isinstance(default, Mapping):
        return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    return type(value) is type(default)


def save(settings: Settings, path: Path | None = None) -> None:
    """Write the preferences whole or not at all; ``UserError`` where the folder cannot be written."""
    path = path or settings_path()
    make_folder(path.parent)
    write_text(path, json.dumps({"version": VERSION, **asdict(settings)}, indent=2))
