"""What waits to go up the channel: numbered when it is handed to the socket, kept until it is acknowledged. No I/O."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from worker_gpu.comfy.progress import Progress
from worker_gpu.json_readers import JsonObject, encode, well_formed
from worker_gpu.timeouts import Timeouts

MAX_UNACKED_PROGRESS = 200
"""Progress stops while this many messages are unacknowledged: a gateway that only listens must not fill the memory."""


@dataclass(frozen=True)
class _Sent:
    seq: int
    frame: str


class Outbox:
    """Messages of one attempt in order. Progress is kept apart, so that only the latest goes; previews may be lost."""

    def __init__(self, timeouts: Timeouts, now: Callable[[], float]) -> None:
        self._timeouts = timeouts
        self._now = now
        self._waiting: deque[JsonObject] = deque()
        self._progress: Progress | None = None
        self._progress_at = float("-inf")
        self._ends_in_progress = False
        self._preview: JsonObject | None = None
        self._preview_at = float("-inf")
        self._unacked: deque[_Sent] = deque()
        self._seq = 0
        self._acked = 0

    @property
    def last_seq(self) -> int:
        """The highest number given so far."""
        return self._seq

    @property
    def is_settled(self) -> bool:
        """Nothing waits and all that was sent is acknowledged."""
        return not self._waiting and self._progress is None and self._acked >= self._seq

    def put(self, message: JsonObject) -> None:
        """A message that must arrive."""
        self._waiting.append(message)
        self._ends_in_progress = False

    def put_progress(self, progress: Progress) -> None:
        """Replace the waiting progress, and take over its node changes."""
        self._progress = progress.after(self._progress)

    def put_preview(self, preview: JsonObject) -> None:
        """Replace the waiting preview."""
        self._preview = preview

    def flush_progress(self) -> None:
        """Send the waiting progress next, without its interval, because it is the last of its part of the run."""
        if self._progress is not None:
            self._waiting.append({"type": "progress", **self._progress.to_wire()})
            self._ends_in_progress = True
            self._progress = None
            self._progress_at = self._now()

    def sync(self) -> None:
        """Have all that was sent stored now: progress alone is stored, hence acknowledged, with what comes next."""
        self.flush_progress()
        if self._ends_in_progress and not self.is_settled:
            self.put({"type": "sync"})

    def acknowledge(self, seq: int) -> None:
        """Every message up to `seq` is stored."""
        self._acked = max(self._acked, min(seq, self._seq))
        while self._unacked and self._unacked[0].seq <= seq:
            self._unacked.popleft()

    def unacknowledged(self) -> list[str]:
        """Frames to send again after a reconnect, oldest first."""
        return [sent.frame for sent in self._unacked]

    def next_frame(self) -> str | None:
        """The frame to hand to the socket now, numbered if it counts; None when nothing is due."""
        now = self._now()
        if self._waiting:
            return self._number(self._waiting.popleft())
        if self._progress is not None and self._progress_due() <= now:
            message: JsonObject = {"type": "progress", **self._progress.to_wire()}
            self._progress, self._progress_at = None, now
            self._ends_in_progress = True
            return self._number(message)
        if self._preview is not None and self._preview_at + self._timeouts.preview_gap_s <= now:
            preview, self._preview, self._preview_at = self._preview, None, now
            return encode(well_formed(preview))
        return None

    def next_due(self) -> float:
        """When `next_frame` has something next, on the clock of `now`; infinite when nothing waits."""
        if self._waiting:
            return self._now()
        progress = self._progress_due() if self._progress is not None else float("inf")
        preview = self._preview_at + self._timeouts.preview_gap_s if self._preview is not None else float("inf")
        return min(progress, preview)

    def _progress_due(self) -> float:
        if len(self._unacked) >= MAX_UNACKED_PROGRESS:
            return float("inf")
        return self._progress_at + self._timeouts.progress_gap_s

    def _number(self, message: JsonObject) -> str:
        self._seq += 1
        frame = encode(well_formed({"seq": self._seq, **message}))
        self._unacked.append(_Sent(self._seq, frame))
        return frame
