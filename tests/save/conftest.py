"""A disk that fills up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


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
