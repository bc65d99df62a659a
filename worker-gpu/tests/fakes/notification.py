"""Waiting for something to happen in a fake: the tests' way to go without sleeping."""

import asyncio
from collections.abc import Callable

LIMIT_S = 10.0
"""A test that waits longer than this has failed."""


class Notification:
    """`tell` after every change; `until` returns once its condition holds."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()

    async def tell(self) -> None:
        """Something changed."""
        async with self._condition:
            self._condition.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when `holds()`. Raises `TimeoutError` after LIMIT_S."""
        async with asyncio.timeout(LIMIT_S), self._condition:
            await self._condition.wait_for(holds)
