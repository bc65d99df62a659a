"""How fast connections are: a chunk that comes far slower than the others starts over on a new connection."""

import threading
from collections import deque
from collections.abc import Callable
from statistics import median

from worker_gpu.models.download.transport import TransientError
from worker_gpu.models.settings import Patience

REMEMBERED = 32
"""Chunks the median is taken of."""
NEEDED = 4
"""With fewer there is nothing to compare with."""


class SlowConnection(TransientError):  # noqa: N818 -- what it is, beside other transient errors
    """A connection is far slower than the others."""


class SpeedTracker:
    """Speeds of the chunks that came through. For several threads at once."""

    def __init__(self, patience: Patience, now: Callable[[], float]) -> None:
        self.patience = patience
        self.now = now
        self.typical = 0.0
        """Bytes a second of the median chunk; 0 while there are too few."""
        self._speeds: deque[float] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()

    def start(self, may_be_slow: bool = False) -> "ChunkSpeed":
        """A chunk begins. `may_be_slow`: other connections were no better."""
        return ChunkSpeed(self, may_be_slow)

    def done(self, bytes_a_second: float) -> None:
        """A chunk came through."""
        with self._lock:
            self._speeds.append(bytes_a_second)
            self.typical = median(self._speeds) if len(self._speeds) >= NEEDED else 0.0


class ChunkSpeed:
    """One chunk on its way over one connection."""

    def __init__(self, tracker: SpeedTracker, may_be_slow: bool) -> None:
        self._tracker = tracker
        self._may_be_slow = may_be_slow
        self._began = tracker.now()
        self._since, self._then = self._began, 0

    def look(self, received: int) -> None:
        """Called now and then while the chunk comes, of which `received` bytes are here. Raises `SlowConnection` for a
        connection far behind the others, and `TransientError` for one so slow that it is as good as silent, whatever
        the others do."""
        tracker, patience = self._tracker, self._tracker.patience
        moment = tracker.now()
        spent = moment - self._began
        if (
            not self._may_be_slow
            and spent >= patience.slow_grace_s
            and received < patience.slow_share * tracker.typical * spent
        ):
            raise SlowConnection("slower than the others")
        if (passed := moment - self._since) >= patience.floor_s:
            if received - self._then < patience.floor_bytes_s * passed:
                raise TransientError(f"only {received - self._then} bytes came in {passed:.0f} s")
            self._since, self._then = moment, received

    def done(self, length: int) -> None:
        """It came through."""
        self._tracker.done(length / max(self._tracker.now() - self._began, 1e-6))
