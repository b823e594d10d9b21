"""Where models lie, and small files that the program keeps about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from usviewer.errors import UserError, foreign_parser
from usviewer.files import make_folder, read_bytes, write_text

# The largest that is kept (the trials of all engines) has 3 kB.
MAX_KEPT_BYTES = 1_000_000


def user_folder() -> Path:
    """Give the folder of the user's own models: in the platform's data folder, XDG_DATA_HOME on Linux."""
    return Path(platformdirs.user_data_dir("usviewer", appauthor=False)) / "models"


def cache_folder() -> Path:
    """Give the folder in which the program keeps what it can find out again."""
    return Path(platformdirs.user_cache_dir("usviewer", appauthor=False))


def keep_json(path: Path, values: Mapping[str, Any]) -> None:
    """Keep a table as JSON, whole or not at all. Raises ``UserError`` where the disk refuses it."""
    make_folder(path.parent)
    write_text(path, json.dumps(dict(values), indent=1))


def kept_json(path: Path) -> dict[str, Any]:
    """Read a table that the program kept; empty where it is missing or damaged: then it is made again."""
    with suppress(OSError, UserError), foreign_parser(f"{path.name} is damaged"):
        values = json.loads(read_bytes(path, MAX_KEPT_BYTES))
        if isinstance(values, dict):
            return values
    return {}
