"""Looks at what may hang or fail, and comes back all the same: a network volume that does not answer holds whoever asks
it in the kernel, where nothing ends the wait."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_S = 10.0
"""Longest look at a disk: a listing of 2,000 files on a slow network volume takes a few seconds."""


async def looked(look: Callable[[], T], otherwise: Callable[[str], T], limit_s: float = LOOK_S) -> T:
    """What `look` gives, in a thread; `otherwise` with what is wrong where it fails or takes longer than `limit_s`. The
    thread of one that hangs is left to itself: it holds up neither the loop's end nor the process's."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def settle(value: T) -> None:
        if not found.done():
            found.set_result(value)

    def work() -> None:
        try:
            value = look()
        except Exception as error:
            value = otherwise(type(error).__name__)
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, value)

    try:
        # Not one of the loop's own threads, which are waited for at its end.
        threading.Thread(target=work, name="look", daemon=True).start()
        async with asyncio.timeout(limit_s):
            return await found
    except TimeoutError:
        return otherwise(f"no answer within {limit_s:g} seconds")
    except RuntimeError as error:
        return otherwise(str(error))
