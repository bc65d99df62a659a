"""The queue of chunks to read: the most urgent first, and failed chunks after a pause."""

import heapq
from dataclasses import dataclass, field

from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.priority import Urgency, rank

PREPARE = -1
"""In place of a chunk number: the task that prepares the download."""


@dataclass(order=True)
class Task:
    """A chunk to read. `has_follower`: the next chunk becomes a task when this one starts."""

    order: tuple[int, int, int, str]
    chunk: int
    download: Download = field(compare=False)
    has_follower: bool = field(default=True, compare=False)
    attempts: int = field(default=0, compare=False)
    replacements: int = field(default=0, compare=False)
    cause: str = field(default="", compare=False)

    @staticmethod
    def of(download: Download, chunk: int) -> "Task":
        """The task of a chunk, with the current urgency of its file."""
        return Task(rank(download.file, download.urgency), chunk, download)

    def take_follower(self) -> "Task | None":
        """The task of the next chunk, once. Tasks are created one at a time, since a file may have very many chunks."""
        leads, self.has_follower = self.has_follower, False
        chunk, download = self.chunk + 1, self.download
        if not leads or self.chunk == PREPARE or chunk >= download.file.chunk_count or download.error is not None:
            return None
        return Task.of(download, chunk)


class WorkQueue:
    """Tasks that no thread has started. The caller holds a lock; times are of the caller's clock."""

    def __init__(self) -> None:
        self._ready: list[Task] = []
        self._delayed: list[tuple[float, Task]] = []

    def __len__(self) -> int:
        """The number of tasks that can start now."""
        return len(self._ready)

    def add(self, task: Task) -> None:
        """Add a task that can start now."""
        heapq.heappush(self._ready, task)

    def add_later(self, task: Task, moment: float) -> None:
        """Add a task that can start at `moment`."""
        heapq.heappush(self._delayed, (moment, task))

    def pop(self, moment: float) -> Task | None:
        """Remove and return the first task that can start at `moment`."""
        while self._delayed and self._delayed[0][0] <= moment:
            heapq.heappush(self._ready, heapq.heappop(self._delayed)[1])
        return heapq.heappop(self._ready) if self._ready else None

    def next_due(self) -> float | None:
        """When the first delayed task can start; None if there is none."""
        return self._delayed[0][0] if self._delayed else None

    def reorder(self, download: Download, urgency: Urgency) -> None:
        """Change the urgency of the tasks of `download`."""
        for task in [*self._ready, *(task for _, task in self._delayed)]:
            if task.download is download:
                task.order = rank(download.file, urgency)
        heapq.heapify(self._ready)
        heapq.heapify(self._delayed)

    def remove(self, download: Download) -> None:
        """Remove the tasks of `download`."""
        self._ready = [task for task in self._ready if task.download is not download]
        self._delayed = [entry for entry in self._delayed if entry[1].download is not download]
        heapq.heapify(self._ready)
        heapq.heapify(self._delayed)

    def clear(self) -> None:
        """Remove all tasks."""
        self._ready.clear()
        self._delayed.clear()
