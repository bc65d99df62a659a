"""Runs a check that may hang or fail, within a time limit. A network volume that does not answer blocks its reader in
the kernel, where nothing ends the wait."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PROBE_TIMEOUT_S = 10.0
"""Listing 2,000 files on a slow network volume takes a few seconds."""


async def probe(check: Callable[[], T], on_problem: Callable[[str], T], timeout_s: float = PROBE_TIMEOUT_S) -> T:
    """The result of `check`, which runs in a thread, or of `on_problem`, which gets the reason, if the check fails or
    takes longer than `timeout_s`. A hung thread delays neither the end of the loop nor that of the process."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def deliver(value: T) -> None:
        if not result.done():
            result.set_result(value)

    def run_check() -> None:
        try:
            value = check()
        except Exception as error:
            value = on_problem(type(error).__name__)
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, value)

    try:
        # A thread of its own: the loop waits for those of its executor when it ends.
        threading.Thread(target=run_check, name="probe", daemon=True).start()
        async with asyncio.timeout(timeout_s):
            return await result
    except TimeoutError:
        return on_problem(f"no answer within {timeout_s:g} seconds")
    except RuntimeError as error:
        return on_problem(str(error))
