"""How long a process worked or waited for something, without the time in which a busy computer kept it waiting."""

from __future__ import annotations

import time
from pathlib import Path


class Clock:
    """Seconds since it was made. On Linux without those in which the process was ready to run and others ran."""

    def __init__(self, process_id: int | str = "self") -> None:
        self._file = Path(f"/proc/{process_id}/schedstat")
        self._started, self._queued_s = time.monotonic(), self._read()

    def seconds(self) -> float:
        """So far."""
        return max(0.0, time.monotonic() - self._started - (self._read() - self._queued_s))

    def _read(self) -> float:
        try:
            return int(self._file.read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # another system, or the process is gone
            return 0.0
