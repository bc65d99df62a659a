"""ComfyUI's own share of a job: how long its queue held the prompt, as every client of its socket is told."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp

END_S = 10.0


class Observer:
    """Notes when ComfyUI's queue is filled and when it is empty again. One job at a time."""

    def __init__(self) -> None:
        self._queued_at: float | None = None
        self._over: asyncio.Future[float] | None = None

    def begin(self) -> None:
        """Forget the job before."""
        self._queued_at = None
        self._over = asyncio.get_running_loop().create_future()

    async def share_ms(self) -> float:
        """How long the queue held the prompt, in milliseconds."""
        if self._over is None:
            raise RuntimeError("not begun")
        async with asyncio.timeout(END_S):
            return await self._over * 1000

    def hear(self, text: str) -> None:
        """Take a message of the socket."""
        message = json.loads(text)
        if message["type"] != "status":
            return
        remaining = message["data"]["status"]["exec_info"]["queue_remaining"]
        if remaining and self._queued_at is None:
            self._queued_at = time.perf_counter()
        elif not remaining and self._queued_at is not None and self._over is not None and not self._over.done():
            self._over.set_result(time.perf_counter() - self._queued_at)


@asynccontextmanager
async def observing(url: str) -> AsyncGenerator[Observer]:
    """An `Observer` of the ComfyUI at `url`."""
    observer = Observer()
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws?clientId=observer") as socket:

        async def listen() -> None:
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    observer.hear(frame.data)

        listening = asyncio.create_task(listen())
        try:
            yield observer
        finally:
            listening.cancel()
