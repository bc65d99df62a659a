"""One lane: a connection, a buffer, and the loop in which every byte is read, hashed and written."""

import hashlib
import threading
import time
from collections.abc import Callable

from worker_gpu.models.download import Download
from worker_gpu.models.errors import Stopped
from worker_gpu.models.pace import LOOK_S, Run
from worker_gpu.models.parts import Part
from worker_gpu.models.wire import Passing, Wire

BUFFER_BYTES = 1024 * 1024
"""What a lane reads before it hashes and writes: small enough to be hashed out of the processor's cache."""
PIECE_BYTES = 128 * 1024
"""After this much, or after `pace.WATCH_S`, a lane looks whether it is slow or should stop."""


class Lane:
    """What one thread reads with. `tell` hears how its last while was spent: in all, computing, and computing by the
    whole process (seconds)."""

    def __init__(
        self,
        wire: Wire,
        stop: threading.Event,
        now: Callable[[], float],
        tell: Callable[[float, float, float], None],
    ) -> None:
        self.wire = wire
        self._stop = stop
        self._now = now
        self._tell = tell
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._looked = (now(), time.thread_time(), time.process_time())

    def read(self, download: Download, part: Part, run: Run, first: int, length: int) -> str:
        """Bytes from the source to the part, and their SHA-256. Raises `Passing`, `ModelError`, and `Stopped` when the
        worker stops or the download has failed meanwhile."""
        response = download.remote.open_range(self.wire, first, length)
        self._look_at_clock()
        buffer, digest, received, look = self._buffer, hashlib.sha256(), 0, 0.0
        try:
            while received < length:
                filled, most = 0, min(len(buffer), length - received)
                while filled < most:
                    got = response.read_until(buffer[filled : min(most, filled + PIECE_BYTES)], look)
                    if got == 0:
                        raise Passing(f"the body ended after {received + filled} of {length} bytes")
                    filled += got
                    if self._stop.is_set() or download.error is not None:
                        raise Stopped
                    look = run.look(received + filled)
                digest.update(buffer[:filled])
                part.write(buffer[:filled], first + received)
                received += filled
                download.count(filled)
                self._look_at_clock()
            # Some bodies end with a chunk of no bytes; until it is read the connection cannot be used again.
            if not response.done and response.read_into(buffer[:1]) != 0:
                raise Passing(f"the body goes on after {length} bytes")
        except (Passing, Stopped):
            download.count(-received)
            raise
        run.done(length)
        return digest.hexdigest()

    def _look_at_clock(self) -> None:
        """Tell of the last while, if it was long enough to say something."""
        moment = self._now()
        if moment - self._looked[0] < LOOK_S:
            return
        before, self._looked = self._looked, (moment, time.thread_time(), time.process_time())
        spent, computed, all_computed = (new - old for new, old in zip(self._looked, before, strict=True))
        self._tell(spent, computed, all_computed)
