"""How fast lanes are: one far behind the others starts over on a new connection; where lanes wait, more are started."""

import threading
from collections import deque
from collections.abc import Callable
from statistics import median

from worker_gpu.models.settings import Patience

REMEMBERED = 32
"""Chunks the median is taken of."""
NEEDED = 4
"""With fewer there is nothing to compare with."""
IDLE_SHARE = 0.12
"""A lane that computes for less of its time waits for the network. At 25 MB/s over TLS it computes for 4 % of it; six
on two processors that are short for 20 %, and more of them would only get into each other's way (decision 0020)."""
BUSY_SHARE = 0.5
"""Where the process takes more of all processors, lanes wait for those, whatever it looks like to one of them."""
LOOK_S = 0.05
"""How much time a lane judges at least: a round trip or two."""


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


class Crew:
    """How many lanes there may be: few at first, and one more each time a lane finds that it mostly waits. The lock is
    the caller's."""

    def __init__(self, few: int, most: int, cpus: int) -> None:
        self.size = min(few, most)
        self._most = most
        self._cpus = cpus

    def told(self, spent_s: float, computed_s: float, all_computed_s: float) -> bool:
        """A lane tells how its last while (`LOOK_S` at least) was spent, by itself and by the whole process; whether
        there may be one more now."""
        waits = computed_s < IDLE_SHARE * spent_s and all_computed_s < BUSY_SHARE * spent_s * self._cpus
        grows = self.size < self._most and waits
        self.size += grows
        return grows
