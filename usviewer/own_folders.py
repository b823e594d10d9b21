"""The folders that the program chose by itself: settings, clips' work, caches, reports, pictures without a folder set.

What lies there is for its user alone: folders 0700, files 0600. (On Windows a profile is closed to others by itself.)
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import platformdirs

# Read, write and enter, of the group and of all others.
_OTHERS = 0o077


def own_folders() -> tuple[Path, ...]:
    """List the program's own folders on this computer."""
    kinds = (
        platformdirs.user_data_dir,
        platformdirs.user_config_dir,
        platformdirs.user_cache_dir,
        platformdirs.user_state_dir,
        platformdirs.user_log_dir,
    )
    chosen = tuple(Path(kind("usviewer", appauthor=False)) for kind in kinds)
    return (*chosen, pictures_folder())


def pictures_folder() -> Path:
    """Give the folder for pictures and recordings where the user set no other."""
    return Path(platformdirs.user_pictures_dir()) / "usviewer"


def own_root(path: Path) -> Path | None:
    """Find the own folder that a path lies in; None for a place that the user named."""
    return next((root for root in own_folders() if path.is_relative_to(root)), None)


def close_to_others(root: Path, path: Path) -> None:
    """Remove the rights of others from the folders from ``root`` to ``path``: earlier versions left them open."""
    for folder in (root, *(each for each in path.parents if each.is_relative_to(root)), path):
        mode = folder.stat().st_mode
        if mode & _OTHERS:
            with suppress(PermissionError):  # somebody else's, who gave it to this user
                folder.chmod(mode & 0o7700)
