"""A disk that fills up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def full_after() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond so many bytes until the test ends (POSIX only)."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
