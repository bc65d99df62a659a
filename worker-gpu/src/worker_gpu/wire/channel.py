"""The channel to the job: numbered messages up, acks, cancel and new tokens down, over many connections if need be."""

import asyncio
import base64
import contextlib
from collections.abc import Callable
from random import Random
from typing import Literal, TypeAlias

import aiohttp

from worker_gpu.comfy.progress import Progress
from worker_gpu.job.cancellation import StopReason
from worker_gpu.json_readers import JsonObject, ShapeError, decode, maybe_object, maybe_text
from worker_gpu.log import Log
from worker_gpu.redaction import public_text
from worker_gpu.timeouts import Timeouts
from worker_gpu.wire.client import GatewayClient
from worker_gpu.wire.contract import MAX_PREVIEW_CHARS, Output, Stage
from worker_gpu.wire.outbox import Outbox

MAX_LOG_CHARS = 2000
"""Longest `log` message (contract, "channel")."""
FINAL_CLOSES = {4401: "token_refused", 4409: "superseded", 4410: "job_over"}
"""Close codes after which the worker does not come back (contract, "channel")."""
FINAL_STATUSES = {401: "token_refused", 403: "token_refused", 404: "job_over", 409: "superseded", 410: "job_over"}
"""The same, where the handshake is refused."""

CLOSE_S = 1.0
"""Wait for the other side's part of closing."""

OnStop: TypeAlias = Callable[[StopReason], None]


class Channel:
    """The channel of one attempt. Its methods never wait; `run` sends and receives until it is canceled or must not
    reconnect. `on_stop` is called when the job must stop."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        gateway: GatewayClient,
        on_stop: OnStop,
        timeouts: Timeouts,
        now: Callable[[], float],
        random: Random,
        log: Log,
    ) -> None:
        self._http = http
        self._gateway = gateway
        self._on_stop = on_stop
        self._timeouts = timeouts
        self._now = now
        self._random = random
        self._log = log
        self._outbox = Outbox(timeouts, now)
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        self._resend = False
        self._closed_for_good = False

    def stage(self, stage: Stage, message: str | None = None) -> None:
        """What the attempt does now; `message` says more of it to a person."""
        self._outbox.flush_progress()
        update: JsonObject = {"type": "stage", "stage": stage}
        self._put(update if message is None else {**update, "message": public_text(message)})

    def progress(self, progress: Progress) -> None:
        """How far the graph is; the latest wins."""
        self._outbox.put_progress(progress)
        self._news.set()

    def output(self, output: Output) -> None:
        """A result that is stored."""
        self._put({"type": "output", "output": output.to_wire()})

    def note(self, level: Literal["info", "warn", "error"], message: str) -> None:
        """A line for the job's log that its owner may read."""
        self._put({"type": "log", "level": level, "message": public_text(message, MAX_LOG_CHARS)})

    def warning(self, code: str, message: str) -> None:
        """A warning for the owner of the job, as a line of its log."""
        self.note("warn", f"{code}: {message}")

    def preview(self, node: str, content_type: str, image: bytes) -> None:
        """Send a preview of a running node. An image that is too large, or replaced by the next one, is dropped."""
        if len(image) * 4 // 3 + 4 > MAX_PREVIEW_CHARS:
            return
        data = base64.b64encode(image).decode()
        self._outbox.put_preview(
            {"type": "preview", "node_id": node, "content_type": content_type, "data_base64": data}
        )
        self._news.set()

    async def drain(self, limit_s: float) -> int:
        """Wait until all is acknowledged, at most `limit_s`; gives the last number used."""
        self._outbox.sync()
        self._news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self._outbox.is_settled and not self._closed_for_good:
                    self._changed.clear()
                    await self._changed.wait()
        return self._outbox.last_seq

    async def run(self) -> None:
        """Keep the channel up. Returns when the gateway says not to come back."""
        pauses = self._timeouts.backoff(self._random)
        while not self._closed_for_good:
            try:
                async with self._http.ws_connect(
                    self._gateway.channel_url,
                    headers={"authorization": f"Bearer {self._gateway.token}"},
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),  # pyright: ignore[reportCallIssue] -- untyped
                ) as socket:
                    opened = self._now()
                    await self._talk(socket)
                    # A connection that lasted was a good one; others must not be opened in a quick circle.
                    if self._now() - opened >= self._timeouts.retry_max_s:
                        pauses = self._timeouts.backoff(self._random)
                    self._closed(socket.close_code)
            except aiohttp.WSServerHandshakeError as error:
                self._log.warn("channel refused", status=error.status)
                self._end_for_good(FINAL_STATUSES.get(error.status))
            except (aiohttp.ClientError, TimeoutError, OSError, ShapeError) as error:
                self._log.warn("channel lost", cause=type(error).__name__)
            if not self._closed_for_good:
                await asyncio.sleep(next(pauses))

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Talk until the connection ends; the gateway begins, with its ack."""
        if not self._take(await socket.receive(self._timeouts.ping_silence_s)):
            return
        self._resend = True
        speaking = asyncio.create_task(self._speak(socket))
        try:
            while self._take(await socket.receive(self._timeouts.ping_silence_s)):
                pass
        finally:
            speaking.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, OSError):
                await speaking

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        next_ping = self._now() + self._timeouts.ping_s
        while not socket.closed:
            self._news.clear()
            if self._resend:
                self._resend = False
                for frame in self._outbox.unacknowledged():
                    await socket.send_str(frame)
            while (frame := self._outbox.next_frame()) is not None:
                await socket.send_str(frame)
            if self._now() >= next_ping:
                await socket.send_str("ping")
                next_ping = self._now() + self._timeouts.ping_s
            wait_s = max(0.0, min(self._outbox.next_due(), next_ping) - self._now())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    def _take(self, frame: aiohttp.WSMessage) -> bool:
        """Take a frame from the gateway; False when it is the end of the connection."""
        if frame.type is not aiohttp.WSMsgType.TEXT:
            return False
        text: str = frame.data
        if text == "pong":
            return True
        message = maybe_object(decode(text))
        ack = message.get("ack")
        if isinstance(ack, int):
            self._outbox.acknowledge(ack)
            self._changed.set()
            if message.get("resend") is True:
                self._resend = True
                self._news.set()
        token = maybe_text(message.get("token"))
        if token:
            self._gateway.token = token
        if message.get("cancel") is True:
            self._on_stop(_stop_of(maybe_text(message.get("reason"))))
        return True

    def _put(self, message: JsonObject) -> None:
        self._outbox.put(message)
        self._news.set()

    def _closed(self, code: int | None) -> None:
        self._log.info("channel closed", code=code)
        self._end_for_good(FINAL_CLOSES.get(code or 0))

    def _end_for_good(self, why: str | None) -> None:
        if why is None:
            return
        self._closed_for_good = True
        self._changed.set()
        if why == "superseded":
            self._on_stop("superseded")
        elif why == "job_over":
            self._on_stop("job_over")


def _stop_of(reason: str | None) -> StopReason:
    if reason == "deadline":
        return "deadline"
    return "superseded" if reason == "superseded" else "client"
