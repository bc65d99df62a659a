"""Waiting, running and ended prompts, behind one lock, because cancelling must be atomic."""

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from local_comfyui.graph import Graph
from local_comfyui.interrupt import Interrupt
from local_comfyui.json_types import Json, JsonObject

HISTORY_SIZE = 10_000
"""Entries of history ComfyUI keeps."""


@dataclass(frozen=True, order=True)
class Queued:
    """A prompt in the queue; they run by `number`, then by id."""

    number: float
    prompt_id: str
    prompt: JsonObject = field(compare=False)
    extra_data: JsonObject = field(compare=False)
    outputs: list[str] = field(compare=False)
    graph: Graph = field(compare=False)
    created_ms: int = field(compare=False)

    def as_tuple(self) -> list[Json]:
        """As `/queue` and the history show it."""
        return [self.number, self.prompt_id, self.prompt, self.extra_data, [*self.outputs]]


@dataclass(frozen=True)
class Ended:
    """An entry of the history: what ran, and its content in `/history`."""

    item: Queued
    entry: JsonObject


@dataclass(frozen=True)
class Freeing:
    """A request of `/free`: delete all results."""

    forget_results: bool


class PromptQueue:
    """`changed` is called, with the lock held, whenever the number of unfinished prompts may have changed."""

    def __init__(self, interrupt: Interrupt, changed: Callable[[int], None]) -> None:
        self._lock = threading.RLock()
        self._not_empty = threading.Condition(self._lock)
        self._interrupt, self._changed = interrupt, changed
        self._waiting: list[Queued] = []
        self._running: Queued | None = None
        self._history: dict[str, Ended] = {}
        self._freeing: Freeing | None = None
        self._closed = False

    def put(self, item: Queued) -> None:
        """Queue a prompt."""
        with self._lock:
            heapq.heappush(self._waiting, item)
            self._notify()
            self._not_empty.notify()

    def take(self) -> Queued | Freeing | None:
        """Wait for the next action: a prompt, which is running from now on, or freeing memory; None when closed."""
        with self._lock:
            while not (self._waiting or self._freeing or self._closed):
                self._not_empty.wait()
            if self._closed:
                return None
            if self._freeing is not None:
                freeing, self._freeing = self._freeing, None
                return freeing
            self._running = heapq.heappop(self._waiting)
            self._interrupt.clear()  # Under the lock: from here on an interrupt stops this prompt.
            self._notify()
            return self._running

    def finish(self, entry: JsonObject) -> None:
        """The running prompt ended: put it into the history."""
        with self._lock:
            item, self._running = self._running, None
            if item is None:
                raise RuntimeError("no prompt is running")
            if len(self._history) > HISTORY_SIZE:
                del self._history[next(iter(self._history))]
            self._history[item.prompt_id] = Ended(item, {"prompt": item.as_tuple(), **entry})
            self._notify()

    def free(self, freeing: Freeing) -> None:
        """Request that memory is freed before the next prompt, or now if none runs."""
        with self._lock:
            self._freeing = freeing
            self._not_empty.notify()

    def close(self) -> None:
        """Start no further prompt; the waiting thread returns."""
        with self._lock:
            self._closed = True
            self._not_empty.notify_all()

    def remaining(self) -> int:
        """Prompts not ended."""
        with self._lock:
            return len(self._waiting) + (self._running is not None)

    def now(self) -> tuple[list[Queued], list[Queued]]:
        """Running and waiting prompts; the waiting ones in the order of the heap, the next one first."""
        with self._lock:
            return ([] if self._running is None else [self._running]), list(self._waiting)

    def clear(self) -> None:
        """Drop every waiting prompt."""
        with self._lock:
            self._waiting = []
            self._notify()

    def delete(self, prompt_id: str) -> bool:
        """Drop a waiting prompt; it leaves no history. False when it is not waiting."""
        with self._lock:
            for index, item in enumerate(self._waiting):
                if item.prompt_id == prompt_id:
                    if len(self._waiting) == 1:
                        self.clear()  # Announce again: the recorded traffic has two status messages here.
                    else:
                        del self._waiting[index]
                        heapq.heapify(self._waiting)
                    self._notify()
                    return True
            return False

    def interrupt(self, prompt_id: str | None) -> bool:
        """Interrupt the running prompt; with an id only if it is that one. False when it is not."""
        with self._lock:
            if prompt_id is not None and (self._running is None or self._running.prompt_id != prompt_id):
                return False
            self._interrupt.ask()
            return True

    def cancel(self, prompt_id: str) -> bool:
        """Interrupt a running prompt, or delete a waiting one. False when it has ended or is unknown."""
        with self._lock:
            return self.interrupt(prompt_id) or self.delete(prompt_id)

    def history(self, limit: int | None = None, offset: int = -1) -> dict[str, Ended]:
        """Ended prompts, oldest first; without an offset a limit counts from the newest."""
        with self._lock:
            if offset < 0:
                offset = max(0, len(self._history) - limit) if limit is not None else 0
            keys = list(self._history)[offset:]
            return {key: self._history[key] for key in (keys if limit is None else keys[:limit])}

    def ended(self, prompt_id: str) -> Ended | None:
        """One ended prompt."""
        with self._lock:
            return self._history.get(prompt_id)

    def clear_history(self) -> None:
        """Delete every ended prompt."""
        with self._lock:
            self._history.clear()

    def delete_history(self, prompt_id: str) -> None:
        """Delete one ended prompt."""
        with self._lock:
            self._history.pop(prompt_id, None)

    def _notify(self) -> None:
        self._changed(self.remaining())
