"""The clients' WebSockets: one per client id; messages go out in the order in which they were sent, from any thread."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from local_comfyui.executor import Current
from local_comfyui.json_types import JsonObject, as_object, parse_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outgoing:
    message: JsonObject | bytes
    client: str | None


@dataclass
class _Client:
    socket: web.WebSocketResponse
    preview_metadata: bool = False


class Sockets:
    """`features` is what the server answers to a client's feature flags; `remaining` counts unfinished prompts."""

    def __init__(self, features: JsonObject, current: Current, remaining: Callable[[], int]) -> None:
        self._features, self._current, self._remaining = features, current, remaining
        self._clients: dict[str, _Client] = {}
        self._outgoing: asyncio.Queue[_Outgoing] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sender: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to send, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._sender = asyncio.create_task(self._send_forever())

    async def stop(self) -> None:
        """Close every socket and stop sending."""
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
        self._loop = None
        for client in list(self._clients.values()):
            await client.socket.close(code=1001)

    def send(self, event: str, data: JsonObject, client: str | None) -> None:
        """Send a JSON message; to everyone when `client` is None. Safe from any thread."""
        self._queue(_Outgoing({"type": event, "data": data}, client))

    def send_bytes(self, message: bytes, client: str | None) -> None:
        """Send a binary message; to everyone when `client` is None. Safe from any thread."""
        self._queue(_Outgoing(message, client))

    def wants_preview_metadata(self, client: str | None) -> bool:
        """True when the client said so in its first message."""
        known = self._clients.get(client) if client is not None else None
        return known is not None and known.preview_metadata

    def announce_queue(self, remaining: int) -> None:
        """Send all clients the number of unfinished prompts."""
        self.send("status", {"status": {"exec_info": {"queue_remaining": remaining}}}, None)

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """GET /ws?clientId=: a new socket replaces an older one with the same id."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.query.get("clientId", "") or uuid.uuid4().hex
        client = self._clients[client_id] = _Client(socket)
        try:
            status: JsonObject = {"exec_info": {"queue_remaining": self._remaining()}}
            await socket.send_json({"type": "status", "data": {"status": status, "sid": client_id}})
            if self._current.client == client_id and self._current.node is not None:
                await socket.send_json({"type": "executing", "data": {"node": self._current.node}})
            await self._read(client)
        except ConnectionError:
            log.debug("client %s went away", client_id)
        finally:
            if self._clients.get(client_id) is client:
                del self._clients[client_id]
        return socket

    async def _read(self, client: _Client) -> None:
        first = True
        async for message in client.socket:
            if message.type is WSMsgType.TEXT and first:
                first = False
                await self._read_first(client, str(message.data))

    async def _read_first(self, client: _Client, text: str) -> None:
        """Feature flags count only as the first message."""
        try:
            message = as_object(parse_json(text))
        except ValueError:
            log.warning("a client's first message was not JSON")
            return
        if message.get("type") == "feature_flags":
            client.preview_metadata = as_object(message.get("data")).get("supports_preview_metadata") is True
            await client.socket.send_json({"type": "feature_flags", "data": self._features})

    def _queue(self, outgoing: _Outgoing) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed, and with it all sockets
                loop.call_soon_threadsafe(self._outgoing.put_nowait, outgoing)

    async def _send_forever(self) -> None:
        while True:
            outgoing = await self._outgoing.get()
            for client_id, client in list(self._clients.items()):
                if outgoing.client is None or outgoing.client == client_id:
                    await self._send_one(client, outgoing.message)

    async def _send_one(self, client: _Client, message: JsonObject | bytes) -> None:
        try:
            if isinstance(message, bytes):
                await client.socket.send_bytes(message)
            else:
                await client.socket.send_json(message)
        except (ConnectionError, RuntimeError) as problem:  # aiohttp's errors for a closing socket.
            log.debug("a message was not delivered: %s", problem)
