"""The socket to ComfyUI: opened once, kept open over all jobs with one client id, opened again whenever it breaks."""

import asyncio
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

import aiohttp

from worker_gpu.comfy.frames import FEATURE_FLAGS, PreviewFrame, parse_frame
from worker_gpu.comfy.messages import Message, parse_message, parse_queue_length
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""An `executed` message holds whatever a node shows, previews whole pictures; aiohttp's default of 4 MiB would cut the
socket."""


@dataclass(frozen=True)
class SocketUp:
    """The socket was opened (again): messages may have been missed."""


@dataclass(frozen=True)
class SocketDown:
    """The socket broke: silence says nothing until it is up."""


SocketEvent: TypeAlias = Message | PreviewFrame | SocketUp | SocketDown
Inbox: TypeAlias = "asyncio.Queue[SocketEvent]"


class ComfySocket:
    """Puts received messages into the open inbox, if any. `run` keeps the socket connected until it is canceled."""

    def __init__(self, http: aiohttp.ClientSession, url: str, timeouts: Timeouts, random: Random, log: Log) -> None:
        self.client_id = uuid.uuid4().hex
        self._http = http
        self._url = f"{url}?clientId={self.client_id}"
        self._timeouts = timeouts
        self._random = random
        self._log = log
        self._inbox: Inbox | None = None
        self._up = asyncio.Event()
        self._wanted = asyncio.Event()
        self.on_disconnect: Callable[[], None] = lambda: None
        """Called each time the socket breaks."""
        self._queued: int | None = None

    @property
    def is_up(self) -> bool:
        """Whether messages can come in now."""
        return self._up.is_set()

    @property
    def is_idle(self) -> bool:
        """Whether ComfyUI has no prompt, as far as it said last."""
        return self._queued == 0

    async def wait_up(self, limit_s: float) -> bool:
        """Wait until the socket is up, at most `limit_s`; says whether it is. Cuts a pause between tries short."""
        self._wanted.set()
        try:
            async with asyncio.timeout(limit_s):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def listen(self) -> Generator[Inbox]:
        """An inbox for everything that is heard from now on. One at a time: a worker runs one job."""
        inbox: Inbox = asyncio.Queue()
        self._inbox = inbox
        try:
            yield inbox
        finally:
            if self._inbox is inbox:
                self._inbox = None

    async def run(self) -> None:
        """Keep the socket up."""
        pauses = self._timeouts.backoff(self._random)
        while True:
            self._wanted.clear()
            try:
                async with self._http.ws_connect(
                    self._url, max_msg_size=MAX_MESSAGE_BYTES, heartbeat=self._timeouts.ping_s
                ) as socket:
                    # ComfyUI looks at a client's first message only.
                    await socket.send_str(FEATURE_FLAGS)
                    self._up.set()
                    self._hand_over(SocketUp())
                    pauses = self._timeouts.backoff(self._random)
                    await self._read(socket)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._log.warn("comfyui socket failed", cause=type(error).__name__)
            if self._up.is_set():
                self._up.clear()
                self._queued = None
                self.on_disconnect()
                self._hand_over(SocketDown())
            with suppress(TimeoutError):
                async with asyncio.timeout(next(pauses)):
                    await self._wanted.wait()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                queued = parse_queue_length(frame.data)
                self._queued = queued if queued is not None else self._queued
                self._hand_over(parse_message(frame.data))
            elif frame.type is aiohttp.WSMsgType.BINARY:
                self._hand_over(parse_frame(frame.data))

    def _hand_over(self, event: SocketEvent | None) -> None:
        if event is not None and self._inbox is not None:
            self._inbox.put_nowait(event)
