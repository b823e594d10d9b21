"""Which of the program's own threads a test has left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from usviewer.pipeline.worker import PREFIX


@contextmanager
def no_thread_left(deadline_s: float = 10.0) -> Iterator[None]:
    """Fail where a thread of the program that began in the block still runs a while after it."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith(PREFIX)]
    for thread in left:  # closing waits a second; on a busy computer a source may still be opening then
        thread.join(deadline_s)
    still = [thread.name for thread in left if thread.is_alive()]
    assert not still, f"threads run on: {still}"
