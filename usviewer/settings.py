"""The user's preferences: one typed, versioned file. A key that is not valid is left out with a warning, and no other.

Two windows share the file: each writes only what it changed itself. A file that cannot be read in full is copied before
it is written again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import platformdirs

from usviewer.errors import UserError, foreign_parser
from usviewer.files import keep_copy, make_folder, one_at_a_time, read_bytes, write_text
from usviewer.logs import DEFAULT_LEVEL, LEVELS
from usviewer.plain_text import printable

VERSION = 1
# Keys of earlier versions that have no meaning now.
_RETIRED = frozenset({"version", "bands"})
# The file has about a kilobyte. No system takes a path of more letters than these.
_MOST_BYTES, _MOST_LETTERS, _MOST_KEYS = 1_000_000, 4096, 1000
_MODES = ("", "live", "review")
_CHOICES = {"mode": _MODES, "log_level": LEVELS}
_UNREADABLE = "The preferences could not be read: the defaults are used."


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is remembered between two starts, with its default.

    ``model`` is the model's id; ``engine`` what is asked for ("auto" lets the program measure and choose);
    ``mask`` how the outline is drawn; ``mask_opacity`` of the fill; ``keep_surroundings`` leaves burnt-in text
    in exports; ``reference`` is the table that an aorta's largest diameter is compared with ("" is none); ``keys``
    maps an action to the user's own key;
    ``source`` is what was open last, and ``mode`` how: "live", "review", or "" before the first time; ``save_folder``
    is where pictures and recordings go ("" is the platform's picture folder); ``side_panels`` shows the rail and the
    timeline; ``geometry`` is the window's place, in the toolkit's own words; ``log_level`` is how much is written into
    the log, where the command line does not say it.
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
    log_level: str = DEFAULT_LEVEL


def settings_path() -> Path:
    """Return the path of the preferences, in the platform's own folder."""
    return Path(platformdirs.user_config_dir("usviewer", appauthor=False)) / "settings.json"


def load(path: Path | None = None) -> tuple[Settings, tuple[str, ...]]:
    """Read the preferences. Returns them, and a sentence for each problem; a default for each that cannot be read."""
    path = path or settings_path()
    try:
        content = read_bytes(path, _MOST_BYTES)
        with foreign_parser(_UNREADABLE):
            document = json.loads(content)
    except FileNotFoundError:
        return Settings(), ()
    except (OSError, UserError):
        return Settings(), (_UNREADABLE,)
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
            problems.append(f"The preference '{printable(key[:40])}' is not understood and was left out.")
            continue
        settings = replace(settings, **{key: value})
    return settings, tuple(problems)


def _fits(key: str, value: object) -> bool:
    default = getattr(Settings(), key)
    if get_type_hints(Settings)[key] is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0
    if isinstance(default, Mapping):
        return isinstance(value, dict) and len(value) <= _MOST_KEYS and all(map(_is_text, (*value, *value.values())))
    if isinstance(default, str):
        one_of = _CHOICES.get(key)
        return _is_text(value) and (one_of is None or value in one_of) and (key != "geometry" or str(value).isascii())
    return type(value) is type(default)


def _is_text(value: object) -> bool:
    """Whether a text can stand in a file, a field and a name; JSON may hold others."""
    if not isinstance(value, str) or len(value) > _MOST_LETTERS or "\0" in value:
        return False
    # Python keeps the bytes of a path that are not UTF-8 as DC80 to DCFF.
    return not any(0xD800 <= ord(letter) <= 0xDFFF and not 0xDC80 <= ord(letter) <= 0xDCFF for letter in value)


def save(settings: Settings, path: Path | None = None, *, before: Settings | None = None) -> None:
    """Write the preferences, whole or not at all. Raises ``UserError`` where the folder cannot be written.

    With ``before`` (what was loaded or kept last) only what has changed since then is put into what the file holds now:
    another window may have changed something else. A file that cannot be read in full is copied first.
    """
    path = path or settings_path()
    make_folder(path.parent)
    with one_at_a_time(path):  # another window must not write between the reading and the writing
        on_disk, problems = load(path)
        if problems and keep_copy(path) is None:
            raise UserError(
                f"{path.name} cannot be read in full, and no copy of it can be made before it is written again",
                "Move it away, then change the preference again",
            )
        merged = settings
        if before is not None:
            merged = _merged(on_disk, before, settings)
        write_text(path, json.dumps({"version": VERSION, **asdict(merged)}, indent=2))


def _merged(on_disk: Settings, before: Settings, now: Settings) -> Settings:
    """The preferences on the disk, with what has changed from ``before`` to ``now``."""
    changed: dict[str, Any] = {}
    for each in fields(Settings):
        was, is_now = getattr(before, each.name), getattr(now, each.name)
        if was == is_now:
            continue
        if isinstance(is_now, Mapping):  # key by key: two windows may have changed different ones
            kept = {key: value for key, value in getattr(on_disk, each.name).items() if key in is_now or key not in was}
            is_now = kept | {key: value for key, value in is_now.items() if was.get(key) != value}
        changed[each.name] = is_now
    return replace(on_disk, **changed)
