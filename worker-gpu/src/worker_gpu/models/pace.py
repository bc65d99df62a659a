"""How fast lanes are: one far behind the others starts over on a new connection; where lanes wait, more are started."""

import threading
from collections import deque
from collections.abc import Callable
from statistics import median

from worker_gpu.models.settings import Patience
from worker_gpu.models.wire import Passing

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
WATCH_S = 0.25
"""However little comes, a lane looks this often whether it is too slow."""


class Slow(Passing):
    """A connection is far slower than the others."""


class Pace:
    """Speeds of the chunks that came through. For several lanes at once."""

    def __init__(self, patience: Patience, now: Callable[[], float]) -> None:
        self.patience = patience
        self.now = now
        self.typical = 0.0
        """Bytes a second of the median chunk; 0 while there are too few."""
        self._speeds: deque[float] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()

    def start(self, may_be_slow: bool = False) -> "Run":
        """A chunk begins. `may_be_slow`: other connections were no better."""
        return Run(self, may_be_slow)

    def done(self, bytes_a_second: float) -> None:
        """A chunk came through."""
        with self._lock:
            self._speeds.append(bytes_a_second)
            self.typical = median(self._speeds) if len(self._speeds) >= NEEDED else 0.0


class Run:
    """One chunk on its way over one connection."""

    def __init__(self, pace: Pace, may_be_slow: bool) -> None:
        self._pace = pace
        self._may_be_slow = may_be_slow
        self._began = pace.now()
        self._since, self._then = self._began, 0

    def look(self, received: int) -> float:
        """When to look again. Raises `Slow` for a connection far behind the others, and `Passing` for one so slow that
        it is as good as silent, whatever the others do."""
        pace, patience = self._pace, self._pace.patience
        moment = pace.now()
        spent = moment - self._began
        if (
            not self._may_be_slow
            and spent >= patience.slow_grace_s
            and received < patience.slow_share * pace.typical * spent
        ):
            raise Slow("slower than the others")
        if (passed := moment - self._since) >= patience.floor_s:
            if received - self._then < patience.floor_bytes_s * passed:
                raise Passing(f"only {received - self._then} bytes came in {passed:.0f} s")
            self._since, self._then = moment, received
        return moment + WATCH_S

    def done(self, length: int) -> None:
        """It came through."""
        self._pace.done(length / max(self._pace.now() - self._began, 1e-6))


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
