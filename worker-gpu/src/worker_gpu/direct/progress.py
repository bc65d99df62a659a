"""Sends the progress of a direct job to its RunPod status: one message at a time, only the latest, none after the end.

`progress_update` of the SDK starts a thread for each message. A message that arrives after the result leaves the job
IN_PROGRESS forever (runpod-python#250). This module posts the same body to the same URL, and ends before the response.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable

from worker_gpu.json_readers import JsonObject, maybe_object
from worker_gpu.log import Log

FIRST_S = 1.0
"""Before the first message: a job that ends by then needs no progress, and its response does not wait for a message."""
GAP_S = 0.5
"""Between messages: a status is polled, and each message is a request."""
LAST_S = 5.0
"""How long the response waits for a message that is being posted."""

Post = Callable[[JsonObject], Awaitable[None]]


class StatusReporter:
    """Call `update` with each message, and `close` before the response.

    A status shows one message and is read from time to time. So the `nodes` of a progress message are all nodes so far,
    not only those that changed since a message that the reader may have missed."""

    def __init__(self, post: Post, log: Log, gap_s: float = GAP_S, first_s: float = FIRST_S) -> None:
        self._post = post
        self._log = log
        self._gap_s = gap_s
        self._first_s = first_s
        self._nodes: JsonObject = {}
        self._latest: JsonObject | None = None
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._posting = False

    def update(self, message: JsonObject) -> None:
        """Post `message` when the gap since the last one is over, unless a later one replaces it."""
        if message.get("type") == "progress":
            self._nodes |= maybe_object(message.get("nodes"))
        self._latest = message
        self._news.set()

    async def close(self) -> None:
        """Post no further message. Waits until the current one is posted, so that the response comes after it."""
        self._latest = None
        if self._posting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    while self._posting:
                        self._news.clear()
                        await self._news.wait()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        await asyncio.sleep(self._first_s)
        while True:
            await self._news.wait()
            self._news.clear()
            message, self._latest = self._latest, None
            if message is None:
                continue
            if message.get("type") == "progress" and self._nodes:
                message = dict(message)
                message["nodes"] = dict(self._nodes)
            self._posting = True
            try:
                await self._post(message)
            except Exception as error:
                # The next message may succeed, and a job does not fail because its progress cannot be shown.
                self._log.warn("progress not posted", trace="".join(traceback.format_exception(error))[-2000:])
            finally:
                self._posting = False
                self._news.set()
            await asyncio.sleep(self._gap_s)
