"""A direct job as a stream: its progress as chunks, its answer as the last one.

RunPod's SDK posts each chunk before it asks for the next, and the status gets all of them: neither may grow with the
steps of a run, and none is worth a GPU that waits.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from worker_gpu.direct.response import answer_bytes, sent_bytes, too_large
from worker_gpu.direct.run import Tell, refusal
from worker_gpu.shape import JsonObject

GAP_S = 0.5
"""Least time between chunks of progress."""
AGE_SHARE = 1 / 600
"""The gap grows with the run to this share of its age: ten hours make 3,500 chunks of progress, not 72,000."""
PROGRESS_SHARE = 0.1
"""Of what RunPod takes as an answer, what all chunks before the answer may use. Further ones are not sent."""


async def streamed(
    run: Callable[[Tell], Awaitable[JsonObject]], limit: int, now: Callable[[], float], gap_s: float = GAP_S
) -> AsyncGenerator[JsonObject]:
    """What `run` tells, chunk by chunk, and then what it gives: of progress the latest, and nothing any more once the
    run is over. The status gets the list of all chunks, which is kept below `limit` bytes: where the answer does not
    fit beside the others, it is `output_too_large`. Closing the stream stops the run."""
    waiting = _Waiting(now, gap_s)
    task = asyncio.ensure_future(run(waiting.put))
    task.add_done_callback(lambda _task: waiting.wake())
    sent, most = 0, limit * PROGRESS_SHARE
    try:
        while (chunk := await waiting.next_until(task)) is not None:
            size = sent_bytes(chunk)
            if sent + size <= most:
                sent += size
                yield chunk
        answer = task.result()
        if sent + answer_bytes(answer) > limit:
            answer = refusal("output_too_large", f"{too_large(limit)} In a stream its progress counts too.")
        yield answer
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


class _Waiting:
    """Chunks that wait for their turn."""

    def __init__(self, now: Callable[[], float], gap_s: float) -> None:
        self._now = now
        self._gap_s = gap_s
        self._began = now()
        self._told_at = float("-inf")
        self._lines: deque[JsonObject] = deque()
        self._progress: JsonObject | None = None
        self._news = asyncio.Event()

    def put(self, told: JsonObject) -> None:
        """Progress takes the place of progress; everything else keeps its order."""
        if told.get("type") == "progress":
            self._progress = told
        else:
            self._lines.append(told)
        self._news.set()

    def wake(self) -> None:
        """Have `next_until` look again."""
        self._news.set()

    async def next_until(self, task: "asyncio.Future[JsonObject]") -> JsonObject | None:
        """The next chunk as soon as it may go; None once `task` is done, whatever still waits."""
        while not task.done():
            self._news.clear()
            if self._lines:
                return self._lines.popleft()
            due = self._told_at + max(self._gap_s, (self._now() - self._began) * AGE_SHARE)
            if self._progress is not None and due <= self._now():
                told, self._progress = self._progress, None
                self._told_at = self._now()
                return told
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due - self._now() if self._progress is not None else None):
                    await self._news.wait()
        return None
