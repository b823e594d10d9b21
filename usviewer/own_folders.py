"""The program's own folders: what ships with it, and what it keeps on this computer.

It keeps settings, clips' work, caches, reports, and pictures where no folder is set. What lies there is for its user
alone: folders 0700, files 0600. (On Windows a profile is closed to others by itself.)
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import platformdirs

# Read, write and enter, of the group and of all others.
_OTHERS = 0o077
_PACKAGE = Path(__file__).resolve().parent


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
            with suppress(PermissionError):  # the folder belongs to another user
                folder.chmod(mode & 0o7700)


def resource_path(*parts: str) -> Path:
    """Find a file or folder below ``resources/`` or ``models/``: in the wheel, else in the checkout.

    The wheel carries both inside the package (``usviewer/_bundled``); an editable install has them next to it.
    The path is returned whether or not it exists: the caller knows what its absence means.
    """
    inside = _PACKAGE.joinpath("_bundled", *parts)
    return inside if inside.exists() else _PACKAGE.parent.joinpath(*parts)
