"""A direct job as a stream: its progress as chunks, its answer as the last one."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from worker_gpu.direct.run import Tell
from worker_gpu.shape import JsonObject


async def streamed(run: Callable[[Tell], Awaitable[JsonObject]]) -> AsyncGenerator[JsonObject]:
    """What `run` tells, chunk by chunk, and then what it gives. Closing the stream stops the run."""
    told: asyncio.Queue[JsonObject] = asyncio.Queue()
    task = asyncio.ensure_future(run(told.put_nowait))
    try:
        while not (task.done() and told.empty()):
            waiting = asyncio.ensure_future(told.get())
            try:
                await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield waiting.result()
            finally:
                if not waiting.done():
                    waiting.cancel()
        yield task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
