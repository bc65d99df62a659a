"""Connection speed: a chunk that is far slower than the others starts over on a new connection."""

import threading
from collections import deque
from collections.abc import Callable
from statistics import median

from worker_gpu.models.download.transport import TransientError
from worker_gpu.models.settings import TransferTimeouts

MEDIAN_CHUNKS = 32
"""The number of recent chunks in the median."""
MIN_CHUNKS = 4
"""The median needs at least this many chunks."""


class SlowConnection(TransientError):  # noqa: N818 -- named as the condition
    """The chunk arrives far slower than the median of recent chunks."""


class SpeedTracker:
    """The speeds of finished chunks. Threads may share it."""

    def __init__(self, timeouts: TransferTimeouts, now: Callable[[], float]) -> None:
        self.timeouts = timeouts
        self.now = now
        self.median_speed = 0.0
        """The median in bytes per second; 0 while there are too few chunks."""
        self._speeds: deque[float] = deque(maxlen=MEDIAN_CHUNKS)
        self._lock = threading.Lock()

    def start(self, allow_slow: bool = False) -> "ChunkSpeed":
        """Start to measure a chunk. `allow_slow`: it was slow on other connections too."""
        return ChunkSpeed(self, allow_slow)

    def record(self, bytes_a_second: float) -> None:
        """Add the speed of a finished chunk."""
        with self._lock:
            self._speeds.append(bytes_a_second)
            self.median_speed = median(self._speeds) if len(self._speeds) >= MIN_CHUNKS else 0.0


class ChunkSpeed:
    """The speed of one chunk on one connection."""

    def __init__(self, tracker: SpeedTracker, allow_slow: bool) -> None:
        self._tracker = tracker
        self._allow_slow = allow_slow
        self._began = tracker.now()
        self._window_began, self._window_bytes = self._began, 0

    def check(self, received: int) -> None:
        """Check the speed after `received` bytes of the chunk. Raises `SlowConnection` if the connection is far
        slower than the others, and `TransientError` if it is below the minimum speed, however slow the others are."""
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
                raise TransientError(f"received only {received - self._window_bytes} bytes in {window_s:.0f} s")
            self._window_began, self._window_bytes = now, received

    def finish(self, length: int) -> None:
        """The chunk has arrived."""
        self._tracker.record(length / max(self._tracker.now() - self._began, 1e-6))
