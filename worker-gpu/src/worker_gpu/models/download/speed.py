"""How fast connections are: a chunk that comes far slower than the others starts over on a new connection."""

import threading
from collections import deque
from collections.abc import Callable
from statistics import median

from worker_gpu.models.download.transport import TransientError
from worker_gpu.models.settings import TransferTimeouts

MEDIAN_CHUNKS = 32
"""Chunks the median is taken of."""
MIN_CHUNKS = 4
"""With fewer there is nothing to compare with."""


class SlowConnection(TransientError):  # noqa: N818 -- what it is, beside other transient errors
    """A connection is far slower than the others."""


class SpeedTracker:
    """Speeds of the chunks that came through. For several threads at once."""

    def __init__(self, timeouts: TransferTimeouts, now: Callable[[], float]) -> None:
        self.timeouts = timeouts
        self.now = now
        self.median_speed = 0.0
        """Bytes a second of the median chunk; 0 while there are too few."""
        self._speeds: deque[float] = deque(maxlen=MEDIAN_CHUNKS)
        self._lock = threading.Lock()

    def start(self, allow_slow: bool = False) -> "ChunkSpeed":
        """A chunk begins. `may_be_slow`: other connections were no better."""
        return ChunkSpeed(self, allow_slow)

    def record(self, bytes_a_second: float) -> None:
        """A chunk came through."""
        with self._lock:
            self._speeds.append(bytes_a_second)
            self.median_speed = median(self._speeds) if len(self._speeds) >= MIN_CHUNKS else 0.0


class ChunkSpeed:
    """One chunk on its way over one connection."""

    def __init__(self, tracker: SpeedTracker, allow_slow: bool) -> None:
        self._tracker = tracker
        self._allow_slow = allow_slow
        self._began = tracker.now()
        self._window_began, self._window_bytes = self._began, 0

    def check(self, received: int) -> None:
        """Called now and then while the chunk comes, of which `received` bytes are here. Raises `SlowConnection` for a
        connection far behind the others, and `TransientError` for one so slow that it is as good as silent, whatever
        the others do."""
        tracker, timeouts = self._tracker, self._tracker.timeouts
        now = tracker.now()
        elapsed = now - self._began
        if (
            not self._allow_slow
            and elapsed >= timeouts.slow_grace_s
            and received < timeouts.slow_share * tracker.median_speed * elapsed
        ):
            raise SlowConnection("slower than the others")
        if (window_s := now - self._window_began) >= timeouts.min_speed_window_s:
            if received - self._window_bytes < timeouts.min_bytes_per_s * window_s:
                raise TransientError(f"only {received - self._window_bytes} bytes came in {window_s:.0f} s")
            self._window_began, self._window_bytes = now, received

    def finish(self, length: int) -> None:
        """It came through."""
        self._tracker.record(length / max(self._tracker.now() - self._began, 1e-6))
