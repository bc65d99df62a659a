"""What lives as long as the process: ComfyUI, the session, the socket, and what ComfyUI said of itself."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from worker_gpu import VERSION
from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import Catalog, ComfyClient, ComfyVersion
from worker_gpu.comfy.prompt_executor import Executor
from worker_gpu.comfy.socket import ComfySocket
from worker_gpu.lifecycle.comfyui import Comfy, ExternalComfy
from worker_gpu.log import Log
from worker_gpu.models.service import Models
from worker_gpu.settings import Settings
from worker_gpu.timeouts import Timeouts
from worker_gpu.wire.contract import WorkerInfo

KEEPALIVE_S = 60.0
"""Idle connections to the gateway and the store stay open over the steps of a job."""


@dataclass(frozen=True)
class Deps:
    """Time, randomness and ids, which tests replace."""

    now: Callable[[], float] = time.monotonic
    random: Random = field(default_factory=Random)
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    wall: Callable[[], float] = time.time
    """Seconds since 1970, for signatures; everything else goes by `now`."""


@dataclass(frozen=True)
class ComfyInfo:
    """What ComfyUI reports of itself: its version, and its node catalog."""

    about: ComfyVersion
    catalog: Catalog


@dataclass
class WorkerContext:
    """Everything that outlives a job. `job_lock` keeps jobs one after the other; `cleanup_tasks` are those of jobs that
    were answered. `known` is None until ComfyUI answers for the first time. `restarts` counts how often ComfyUI went
    away and may have come back with other nodes; `info_restarts` is the count when `known` was read."""

    settings: Settings
    comfy: Comfy
    http: aiohttp.ClientSession
    client: ComfyClient
    executor: Executor
    timeouts: Timeouts
    deps: Deps
    log: Log
    job_lock: asyncio.Lock
    known: ComfyInfo | None
    models: Models | None = None
    restarts: int = 0
    info_restarts: int = 0
    cleanup_tasks: "set[asyncio.Task[Any]]" = field(default_factory=set["asyncio.Task[Any]"])

    @property
    def current(self) -> ComfyInfo | None:
        """What ComfyUI said of itself, if it has not gone away since."""
        return self.known if self.info_restarts == self.restarts else None

    @property
    def info(self) -> WorkerInfo:
        """Who this worker is, as far as it is known."""
        about = self.known.about if self.known is not None else ComfyVersion(None, None, has_jobs_api=False)
        build = self.settings.build
        return WorkerInfo(self.settings.worker_id, VERSION, about.version, about.gpu, build.image, build.nodes_digest)

    async def comfy_info(self) -> ComfyInfo:
        """What ComfyUI says of itself, asked where it is not known yet. Raises `ComfyUnreachable`."""
        return self.current or await self.refresh_comfy_info()

    async def refresh_comfy_info(self) -> ComfyInfo:
        """What ComfyUI says of itself now. Raises `ComfyUnreachable`."""
        restarts = self.restarts
        self.known = await ask(self.client)
        self.info_restarts = restarts
        self.log.info("comfyui known", version=self.known.about.version, gpu=self.known.about.gpu)
        return self.known

    def note_restart(self) -> None:
        """Somebody else's ComfyUI went away: it may come back with other nodes."""
        self.restarts += 1


async def ask(client: ComfyClient) -> ComfyInfo:
    """Ask ComfyUI who it is. Raises `ComfyUnreachable`."""
    return ComfyInfo(await client.about(), await client.catalog())


async def fetch_comfy_info(comfy: Comfy, timeouts: Timeouts) -> ComfyInfo | None:
    """Ask a ComfyUI that has been started who it is, before there is a context: the first job need not wait for that.
    None when it fell silent again."""
    async with aiohttp.ClientSession() as http:
        try:
            return await ask(ComfyClient(http, comfy.url, timeouts))
        except ComfyUnreachable:
            return None


@contextlib.asynccontextmanager
async def open_worker_context(
    settings: Settings,
    comfy: Comfy,
    timeouts: Timeouts,
    deps: Deps,
    log: Log,
    known: ComfyInfo | None = None,
    models: Models | None = None,
) -> AsyncGenerator[WorkerContext]:
    """A context on `comfy`, which has been started."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
    async with aiohttp.ClientSession(connector=connector) as http:
        client = ComfyClient(http, comfy.url, timeouts)
        if known is not None:
            client.use_jobs_api(known.about.has_jobs_api)
        socket = ComfySocket(http, client.socket_url, timeouts, deps.random, log)
        listening = asyncio.create_task(socket.run())
        context = WorkerContext(
            settings=settings,
            comfy=comfy,
            http=http,
            client=client,
            executor=Executor(client, socket, comfy, timeouts, deps.now, log),
            timeouts=timeouts,
            deps=deps,
            log=log,
            job_lock=asyncio.Lock(),
            known=known,
            models=models,
        )
        if isinstance(comfy, ExternalComfy):
            socket.on_disconnect = context.note_restart
        try:
            yield context
        finally:
            if context.cleanup_tasks:
                await asyncio.wait(context.cleanup_tasks)
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
