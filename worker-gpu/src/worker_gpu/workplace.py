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
from worker_gpu.boot import Comfy, ExternalComfy
from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import About, Catalog, ComfyClient
from worker_gpu.comfy.execute import Executor
from worker_gpu.comfy.socket import ComfySocket
from worker_gpu.contract import WorkerInfo
from worker_gpu.log import Log
from worker_gpu.models.service import Models
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
    wall: Callable[[], float] = time.time
    """Seconds since 1970, for signatures; everything else goes by `now`."""


@dataclass(frozen=True)
class Known:
    """What ComfyUI said of itself."""

    about: About
    catalog: Catalog


@dataclass
class Workplace:
    """Everything a job needs and no job owns. `turn` keeps jobs one after the other, and `tidying` is what goes on of
    one that was answered; `known` is None until ComfyUI has answered for the first time. `restarts` counts how often
    ComfyUI went away and may have come back with other nodes, `known_since` is the count that `known` is from."""

    settings: Settings
    comfy: Comfy
    http: aiohttp.ClientSession
    client: ComfyClient
    executor: Executor
    patience: Patience
    tools: Tools
    log: Log
    turn: asyncio.Lock
    known: Known | None
    models: Models | None = None
    restarts: int = 0
    known_since: int = 0
    tidying: "set[asyncio.Task[Any]]" = field(default_factory=set["asyncio.Task[Any]"])

    @property
    def current(self) -> Known | None:
        """What ComfyUI said of itself, if it has not gone away since."""
        return self.known if self.known_since == self.restarts else None

    @property
    def info(self) -> WorkerInfo:
        """Who this worker is, as far as it is known."""
        about = self.known.about if self.known is not None else About(None, None, has_jobs_api=False)
        build = self.settings.build
        return WorkerInfo(self.settings.worker_id, VERSION, about.version, about.gpu, build.image, build.nodes_digest)

    async def know(self) -> Known:
        """What ComfyUI says of itself, asked where it is not known yet. Raises `ComfyUnreachable`."""
        return self.current or await self.know_again()

    async def know_again(self) -> Known:
        """What ComfyUI says of itself now. Raises `ComfyUnreachable`."""
        restarts = self.restarts
        self.known = await ask(self.client)
        self.known_since = restarts
        self.log.info("comfyui known", version=self.known.about.version, gpu=self.known.about.gpu)
        return self.known

    def note_restart(self) -> None:
        """Somebody else's ComfyUI went away: it may come back with other nodes."""
        self.restarts += 1


async def ask(client: ComfyClient) -> Known:
    """Ask ComfyUI who it is. Raises `ComfyUnreachable`."""
    return Known(await client.about(), await client.catalog())


async def get_to_know(comfy: Comfy, patience: Patience) -> Known | None:
    """Ask a ComfyUI that has been started who it is, before there is a workplace: the first job need not wait for that.
    None when it fell silent again."""
    async with aiohttp.ClientSession() as http:
        try:
            return await ask(ComfyClient(http, comfy.url, patience))
        except ComfyUnreachable:
            return None


@contextlib.asynccontextmanager
async def open_workplace(
    settings: Settings,
    comfy: Comfy,
    patience: Patience,
    tools: Tools,
    log: Log,
    known: Known | None = None,
    models: Models | None = None,
) -> AsyncGenerator[Workplace]:
    """A workplace on `comfy`, which has been started."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
    async with aiohttp.ClientSession(connector=connector) as http:
        client = ComfyClient(http, comfy.url, patience)
        if known is not None:
            client.use_jobs_api(known.about.has_jobs_api)
        socket = ComfySocket(http, client.socket_url, patience, tools.random, log)
        listening = asyncio.create_task(socket.run())
        place = Workplace(
            settings=settings,
            comfy=comfy,
            http=http,
            client=client,
            executor=Executor(client, socket, comfy, patience, tools.now, log),
            patience=patience,
            tools=tools,
            log=log,
            turn=asyncio.Lock(),
            known=known,
            models=models,
        )
        if isinstance(comfy, ExternalComfy):
            socket.on_down = place.note_restart
        try:
            yield place
        finally:
            if place.tidying:
                await asyncio.wait(place.tidying)
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
