"""Shared fixtures. Real files are read from ``../shared/data`` and their tests are skipped where it is absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from usviewer.pipeline.worker import stop_all

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
# Checked values of formulas (docs/clinical.md, "Gestational age and centiles" and above).
VECTORS = ROOT / "tests" / "vectors.json"

# Files and folders that the fast loop leaves out as a whole, beside the tests that are marked one by one: together they
# take four fifths of the time.
SLOW = (
    "benchmarks/",
    "contract/",
    "end_to_end/",
    "evaluate/",
    "fuzz/",
    "scripts/",
    "cli/",
    "training/",
    "view/",
    "acquire/test_memory.py",
    "acquire/test_phantom.py",
    "acquire/test_video.py",
    "calibrate/ruler/",
    "calibrate/test_sector.py",
    "infer/test_choice.py",
    "infer/test_golden.py",
    "infer/test_int8.py",
    "infer/test_refusals.py",
    "infer/test_registry.py",
    "infer/test_trial.py",
    "measure/test_many.py",
    "measure/test_uncertainty.py",
    "infer/tracking/test_track.py",
    "save/test_plots.py",
    "save/test_results.py",
    "test_app.py",
    "test_examples.py",
)


# Of these coverage is measured all the same: beside the fast loop, which runs most of what lies below them.
MEASURED = ("contract/", "cli/", "view/", "test_app.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, so that ``-m "not slow"`` is the fast loop.

    Measuring coverage makes Python a quarter slower on 3.11. Left out where that would cost most and show nothing new,
    it costs the whole suite less than a tenth.
    """
    for item in items:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        if path.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
            if not path.startswith(MEASURED):
                item.add_marker(pytest.mark.no_cover)


def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Stop what a failed test has left running: later tests of this process count and wait for threads."""
    if call.when == "call" and call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        stop_all()


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


@pytest.fixture
def full_after() -> Callable[[int], AbstractContextManager[None]]:
    """Inside the block no file may grow beyond so many bytes (POSIX only).

    Not longer: the limit is the whole process's, and the log that the tests are printed to is a file, too.
    """
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
