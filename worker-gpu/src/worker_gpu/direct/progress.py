"""Progress of a direct job into its RunPod status: one message at a time, the latest wins, none after the end.

The SDK's own `progress_update` starts a thread for each message, so that one may land after the result and leave the
job IN_PROGRESS for ever (runpod-python#250). This posts the same body to the same place, and is over before the answer.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable

from worker_gpu.log import Log
from worker_gpu.shape import JsonObject, maybe_object

FIRST_S = 1.0
"""Before the first message: of a job that is over by then nobody sees progress, and its answer would wait for it."""
GAP_S = 0.5
"""Between messages: a status is polled, and each message is a request."""
LAST_S = 5.0
"""How long the answer waits for a message under way."""

Post = Callable[[JsonObject], Awaitable[None]]


class StatusProgress:
    """`tell` whenever there is something new; `close` before the answer.

    A status is read now and then, and shows one message: in a progress the `nodes` are all that were told of so far,
    not only those that changed since a message that the reader may never have seen."""

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

    def tell(self, told: JsonObject) -> None:
        """Show this as soon as it is its turn."""
        if told.get("type") == "progress":
            self._nodes |= maybe_object(told.get("nodes"))
        self._latest = told
        self._news.set()

    async def close(self) -> None:
        """Post nothing any more; a message under way is waited for, so that the answer comes after it."""
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
            told, self._latest = self._latest, None
            if told is None:
                continue
            if told.get("type") == "progress" and self._nodes:
                told = dict(told)
                told["nodes"] = dict(self._nodes)
            self._posting = True
            try:
                await self._post(told)
            except Exception as error:
                # The next message may go through; a job does not fail for want of spectators.
                self._log.warn("progress not posted", trace="".join(traceback.format_exception(error))[-2000:])
            finally:
                self._posting = False
                self._news.set()
            await asyncio.sleep(self._gap_s)
