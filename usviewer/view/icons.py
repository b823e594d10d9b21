"""Icons that come with the program, sharp at every size."""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtGui import QIcon

from usviewer.resources import resource_path


@lru_cache(maxsize=64)
def icon(name: str) -> QIcon:
    """The icon of that name; an empty one where there is none."""
    return QIcon(str(resource_path("resources", "icons", f"{name}.svg"))) if name else QIcon()
