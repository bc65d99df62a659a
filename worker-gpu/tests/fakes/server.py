"""An aiohttp application on a free loopback port, for the length of a test."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serving(app: web.Application) -> AsyncGenerator[str]:
    """The URL of `app` while it is served. On leaving, open requests are cut off."""
    async with vanishing(app) as (url, _):
        yield url


@asynccontextmanager
async def vanishing(app: web.Application) -> AsyncGenerator[tuple[str, Callable[[], Awaitable[None]]]]:
    """The URL of `app`, and what ends its server before the time: from then on connections are refused."""
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", runner.cleanup
    finally:
        await runner.cleanup()
