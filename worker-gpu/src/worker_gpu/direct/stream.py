"""A direct job as a stream: its progress as chunks, its response as the last chunk.

RunPod's SDK posts each chunk before it asks for the next, and the status lists all of them. So the number of chunks is
bounded, and the job never waits for one to be posted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from worker_gpu.direct.response import response_size, too_large_message, wire_size
from worker_gpu.direct.run import SendProgress, error_response
from worker_gpu.json_readers import JsonObject

GAP_S = 0.5
"""Least time between chunks of progress."""
AGE_SHARE = 1 / 600
"""The gap grows to this share of the age of the job: ten hours make 3,500 chunks of progress, not 72,000."""
PROGRESS_SHARE = 0.1
"""The share of the response limit for all chunks of progress. Further chunks are not sent."""


async def stream_job(
    run: Callable[[SendProgress], Awaitable[JsonObject]], limit: int, now: Callable[[], float], gap_s: float = GAP_S
) -> AsyncGenerator[JsonObject]:
    """The updates of `run` and then its response. Only the latest progress is sent, and none once the run has ended.
    The status lists all chunks: if the response does not fit beside the others into `limit` bytes, it is
    `output_too_large`. Closing the stream stops the run."""
    pending = _PendingChunks(now, gap_s)
    task = asyncio.ensure_future(run(pending.put))
    task.add_done_callback(lambda _task: pending.wake())
    sent, max_sent = 0, limit * PROGRESS_SHARE
    try:
        while (chunk := await pending.next_until(task)) is not None:
            size = wire_size(chunk)
            if sent + size <= max_sent:
                sent += size
                yield chunk
        response = task.result()
        if sent + response_size(response) > limit:
            response = error_response(
                "output_too_large", f"{too_large_message(limit)} In a stream its progress counts too."
            )
        yield response
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


class _PendingChunks:
    """Chunks that are not sent yet."""

    def __init__(self, now: Callable[[], float], gap_s: float) -> None:
        self._now = now
        self._gap_s = gap_s
        self._began = now()
        self._sent_at = float("-inf")
        self._chunks: deque[JsonObject] = deque()
        self._progress: JsonObject | None = None
        self._news = asyncio.Event()

    def put(self, chunk: JsonObject) -> None:
        """Progress replaces earlier progress. Other chunks keep their order."""
        if chunk.get("type") == "progress":
            self._progress = chunk
        else:
            self._chunks.append(chunk)
        self._news.set()

    def wake(self) -> None:
        """Make `next_until` check again."""
        self._news.set()

    async def next_until(self, task: "asyncio.Future[JsonObject]") -> JsonObject | None:
        """The next chunk when it is due; None once `task` is done, even if chunks are left."""
        while not task.done():
            self._news.clear()
            if self._chunks:
                return self._chunks.popleft()
            due = self._sent_at + max(self._gap_s, (self._now() - self._began) * AGE_SHARE)
            if self._progress is not None and due <= self._now():
                chunk, self._progress = self._progress, None
                self._sent_at = self._now()
                return chunk
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due - self._now() if self._progress is not None else None):
                    await self._news.wait()
        return None
