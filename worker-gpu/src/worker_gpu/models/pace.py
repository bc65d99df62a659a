"""How fast lanes are, so that one far behind the others can be told to start over on a new connection."""

import threading
from collections import deque
from collections.abc import Callable
from statistics import median

from worker_gpu.models.settings import Patience

REMEMBERED = 32
"""Chunks the median is taken of."""
NEEDED = 4
"""With fewer there is nothing to compare with."""


class Pace:
    """Speeds of the chunks that came through. For several lanes at once."""

    def __init__(self, patience: Patience, now: Callable[[], float]) -> None:
        self._patience = patience
        self._now = now
        self._speeds: deque[float] = deque(maxlen=REMEMBERED)
        self._typical = 0.0
        self._lock = threading.Lock()

    def start(self) -> float:
        """A chunk begins."""
        return self._now()

    def done(self, began: float, length: int) -> None:
        """A chunk came through."""
        with self._lock:
            self._speeds.append(length / max(self._now() - began, 1e-6))
            self._typical = median(self._speeds) if len(self._speeds) >= NEEDED else 0.0

    def is_slow(self, began: float, received: int) -> bool:
        """Whether a chunk under way should be given to another connection."""
        if self._typical == 0.0:
            return False
        spent = self._now() - began
        return spent >= self._patience.slow_grace_s and received < self._patience.slow_share * self._typical * spent
