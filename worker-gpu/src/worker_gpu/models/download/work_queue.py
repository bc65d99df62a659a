"""What the threads have to do, in which order: the most urgent first, and what failed after a pause."""

import heapq
from dataclasses import dataclass, field

from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.priority import Urgency, rank

PREPARE = -1
"""In place of a chunk: find out what there is to read at all."""


@dataclass(order=True)
class Task:
    """A chunk to read. `leads`: the chunk after it is no task yet, and becomes one when this one is begun."""

    order: tuple[int, int, int, str]
    chunk: int
    download: Download = field(compare=False)
    has_follower: bool = field(default=True, compare=False)
    attempts: int = field(default=0, compare=False)
    replacements: int = field(default=0, compare=False)
    cause: str = field(default="", compare=False)

    @staticmethod
    def of(download: Download, chunk: int) -> "Task":
        """A chunk as urgent as its file is now."""
        return Task(rank(download.file, download.urgency), chunk, download)

    def take_follower(self) -> "Task | None":
        """The task that beginning this one brings about, asked once: one at a time, since a file may have very many."""
        leads, self.has_follower = self.has_follower, False
        chunk, download = self.chunk + 1, self.download
        if not leads or self.chunk == PREPARE or chunk >= download.file.chunk_count or download.error is not None:
            return None
        return Task.of(download, chunk)


class WorkQueue:
    """The tasks that no thread has taken. The lock is the caller's; moments are of the caller's clock."""

    def __init__(self) -> None:
        self._ready: list[Task] = []
        self._delayed: list[tuple[float, Task]] = []

    def __len__(self) -> int:
        """Those that can be begun now."""
        return len(self._ready)

    def add(self, task: Task) -> None:
        """To be begun as soon as may be."""
        heapq.heappush(self._ready, task)

    def add_later(self, task: Task, moment: float) -> None:
        """Not to be begun before `moment`."""
        heapq.heappush(self._delayed, (moment, task))

    def pop(self, moment: float) -> Task | None:
        """The first of those that can be begun at `moment`."""
        while self._delayed and self._delayed[0][0] <= moment:
            heapq.heappush(self._ready, heapq.heappop(self._delayed)[1])
        return heapq.heappop(self._ready) if self._ready else None

    def next_due(self) -> float | None:
        """When the first of those that wait can be begun; None when none waits."""
        return self._delayed[0][0] if self._delayed else None

    def reorder(self, download: Download, urgency: Urgency) -> None:
        """Tasks of `download` are as urgent as this now."""
        for task in [*self._ready, *(task for _, task in self._delayed)]:
            if task.download is download:
                task.order = rank(download.file, urgency)
        heapq.heapify(self._ready)
        heapq.heapify(self._delayed)

    def remove(self, download: Download) -> None:
        """Nobody wants `download` any more."""
        self._ready = [task for task in self._ready if task.download is not download]
        self._delayed = [entry for entry in self._delayed if entry[1].download is not download]
        heapq.heapify(self._ready)
        heapq.heapify(self._delayed)

    def clear(self) -> None:
        """There is nothing to do any more."""
        self._ready.clear()
        self._delayed.clear()
