"""What lives as long as the process: ComfyUI, the session, the socket, and what ComfyUI said of itself."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from random import Random

import aiohttp

from worker_gpu import VERSION
from worker_gpu.boot import Comfy
from worker_gpu.comfy.client import Catalog, ComfyClient
from worker_gpu.comfy.execute import Executor
from worker_gpu.comfy.socket import ComfySocket
from worker_gpu.contract import WorkerInfo
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.settings import Settings

KEEPALIVE_S = 60.0
"""Idle connections to the gateway and the store stay open over the steps of a job."""


@dataclass(frozen=True)
class Tools:
    """Time, chance and ids, which tests replace."""

    now: Callable[[], float] = time.monotonic
    random: Random = field(default_factory=Random)
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())


@dataclass(frozen=True)
class Workplace:
    """Everything a job needs and no job owns. `turn` keeps jobs one after the other."""

    settings: Settings
    comfy: Comfy
    http: aiohttp.ClientSession
    client: ComfyClient
    executor: Executor
    catalog: Catalog
    info: WorkerInfo
    patience: Patience
    tools: Tools
    log: Log
    turn: asyncio.Lock


@contextlib.asynccontextmanager
async def open_workplace(
    settings: Settings, comfy: Comfy, patience: Patience, tools: Tools, log: Log
) -> AsyncGenerator[Workplace]:
    """A workplace on a ComfyUI that has been started. Raises `ComfyUnreachable`."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
    async with aiohttp.ClientSession(connector=connector) as http:
        client = ComfyClient(http, comfy.url, patience)
        socket = ComfySocket(http, client.socket_url, patience, tools.random, log)
        listening = asyncio.create_task(socket.run())
        try:
            about, catalog = await client.about(), await client.catalog()
            log.info("worker ready", comfyui=about.version, gpu=about.gpu, jobs_api=about.has_jobs_api)
            yield Workplace(
                settings=settings,
                comfy=comfy,
                http=http,
                client=client,
                executor=Executor(client, socket, comfy, patience, tools.now, log),
                catalog=catalog,
                info=WorkerInfo(settings.worker_id, VERSION, about.version, about.gpu),
                patience=patience,
                tools=tools,
                log=log,
                turn=asyncio.Lock(),
            )
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
