"""Shared fixtures. Real files are read from ``../shared/data`` and their tests are skipped where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
VECTORS = ROOT.parent / "shared" / "reference" / "vectors.json"


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real ultrasound images; skips the test where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"real images are not here: {DATA.name} beside the checkout")
    return DATA


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own models, settings or cache."""
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_PICTURES_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    # The choice of an engine takes seconds and depends on the machine: tests of it ask for it.
    monkeypatch.setenv("USVIEWER_ENGINE", "cpu")
