"""Fixtures: an engine served on a free loopback port, and clients that listen to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio

from tests.server import Server, serve

Start = Callable[..., Awaitable[Server]]

LIMIT_SECONDS = 60.0
"""A test that waits longer than this for an event has failed."""


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start servers, each on its own folders below the test's; they stop when the test ends."""
    async with AsyncExitStack() as stack, asyncio.timeout(LIMIT_SECONDS):

        async def one(*flags: str, first_number: int = 0, held: bool = False) -> Server:
            return await stack.enter_async_context(serve(tmp_path, flags, first_number=first_number, held=held))

        yield one


@pytest_asyncio.fixture
async def server(start: Start) -> Server:
    """A server with the probe nodes, whose pauses take no time."""
    return await start("--probe-nodes")
