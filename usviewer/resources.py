"""Where the files that ship with the program lie."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_path(*parts: str) -> Path:
    """Find a file or folder below ``resources/`` or ``models/``: in the wheel, else in the checkout.

    The wheel carries both inside the package (``usviewer/_bundled``); an editable install has them next to it.
    The path is returned whether or not it exists: the caller knows what its absence means.
    """
    inside = _PACKAGE.joinpath("_bundled", *parts)
    return inside if inside.exists() else _PACKAGE.parent.joinpath(*parts)
