"""A served engine as a test sees it: requests, listeners, and a hand on its pauses."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from PIL import Image

from local_comfyui.engine import Engine, build_engine
from local_comfyui.json_types import Json, JsonObject, as_object, parse_json
from local_comfyui.options import parse_options
from local_comfyui.routes import build_app

Message = JsonObject | bytes


class Pauses:
    """Stands in for `time.sleep` in nodes: lets pauses pass at once, or holds each one until the test allows it."""

    def __init__(self, *, held: bool) -> None:
        self._held = held
        self._allowed = threading.Semaphore(0)
        self._waiting = threading.Semaphore(0)

    def sleep(self, seconds: float) -> None:
        """What a node calls."""
        del seconds
        if self._held:
            self._waiting.release()
            self._allowed.acquire()

    def allow(self, count: int = 1) -> None:
        """Let `count` held pauses, present or future, pass."""
        self._allowed.release(count)

    def release(self) -> None:
        """Hold nothing any more."""
        self._held = False
        self._allowed.release(100_000)

    async def reached(self) -> None:
        """Wait until a node is inside a pause (once per pause)."""
        await asyncio.to_thread(self._waiting.acquire)


class Listener:
    """A client's WebSocket, and everything it has received."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.messages: list[Message] = []

    async def receive(self) -> Message:
        """The next message."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            received: Message = bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            received = as_object(parse_json(str(message.data)))
        else:
            raise AssertionError(f"socket ended: {message.type}")
        self.messages.append(received)
        return received

    async def until(self, event: str, **data: Json) -> JsonObject:
        """Receive until a message of type `event` whose data has these members."""
        while True:
            message = await self.receive()
            if isinstance(message, bytes) or message["type"] != event:
                continue
            found = as_object(message["data"])
            if all(found.get(key) == value for key, value in data.items()):
                return found

    async def until_over(self, prompt_id: str) -> None:
        """Receive until the prompt is over: `executing` without a node."""
        await self.until("executing", node=None, prompt_id=prompt_id)

    async def say(self, message: JsonObject) -> None:
        """Send a message."""
        await self._socket.send_json(message)

    async def close(self) -> None:
        """Close the socket."""
        await self._socket.close()

    def events(self) -> list[str]:
        """Types of the messages so far; "binary" for pictures and text."""
        return ["binary" if isinstance(message, bytes) else str(message["type"]) for message in self.messages]


class Server:
    """`url` is its origin; `pauses` controls SlowSteps."""

    def __init__(self, engine: Engine, url: str, session: aiohttp.ClientSession, pauses: Pauses) -> None:
        self.engine, self.url, self.session, self.pauses = engine, url, session, pauses

    async def get(self, path: str) -> JsonObject:
        """JSON object at a path."""
        async with self.session.get(self.url + path) as answer:
            return as_object(parse_json(await answer.read()))

    async def post(self, path: str, body: Json = None) -> tuple[int, JsonObject]:
        """Status and JSON answer (empty when there is none) of a POST."""
        async with self.session.post(self.url + path, json=body) as answer:
            raw = await answer.read()
            return answer.status, as_object(parse_json(raw)) if raw else {}

    async def listen(self, client_id: str) -> Listener:
        """Connect a client and receive the first status."""
        listener = Listener(await self.session.ws_connect(f"{self.url}/ws?clientId={client_id}"))
        await listener.receive()
        return listener

    async def run(self, prompt: JsonObject, **more: Json) -> JsonObject:
        """Run a prompt to its end and give its history entry. Raises `AssertionError` when it is refused."""
        listener = await self.listen("run-" + str(len(self.engine.queue.history())))
        client: JsonObject = {"client_id": "run-" + str(len(self.engine.queue.history()))}
        status, answer = await self.post("/prompt", {"prompt": prompt, **client, **more})
        assert status == 200, answer
        prompt_id = str(answer["prompt_id"])
        await listener.until_over(prompt_id)
        await listener.close()
        return as_object((await self.get(f"/history/{prompt_id}"))[prompt_id])

    async def pictures(self, prompt: JsonObject, node: str) -> NDArray[np.uint8]:
        """Run a graph and save output 0 of `node`: the saved pictures (count, height, width, channels)."""
        save: JsonObject = {
            "class_type": "SaveImage",
            "inputs": {"images": [node, 0], "filename_prefix": "out/picture"},
        }
        entry = await self.run({**prompt, "save": save})
        assert as_object(entry["status"])["completed"], entry["status"]
        images = as_object(as_object(entry["outputs"])["save"])["images"]
        assert isinstance(images, list)
        paths = [self.engine.folders.output / "out" / str(as_object(image)["filename"]) for image in images]
        return np.stack([np.asarray(Image.open(path)) for path in paths])

    def put_input(self, name: str, pixels: NDArray[np.uint8]) -> None:
        """Put a picture into the input folder."""
        Image.fromarray(pixels).save(self.engine.folders.input / name)


@asynccontextmanager
async def serve(folder: Path, flags: Sequence[str], *, first_number: int, held: bool) -> AsyncGenerator[Server]:
    """An engine of its own on a free port."""
    options = parse_options(["main.py", "--base-directory", str(folder), *flags], folder)
    pauses = Pauses(held=held)
    engine = build_engine(options, pauses.sleep, first_number)
    runner = web.AppRunner(build_app(engine), shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    thread = await engine.start()
    async with aiohttp.ClientSession() as session:
        yield Server(engine, f"http://127.0.0.1:{runner.addresses[0][1]}", session, pauses)
        pauses.release()
        await engine.stop()
    await runner.cleanup()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


def chain(*steps: Callable[[str], JsonObject]) -> JsonObject:
    """A graph in which every step takes output 0 of the one before; nodes are named a, b, c …"""
    names = [chr(ord("a") + index) for index in range(len(steps))]
    return {
        name: step(names[index - 1] if index else "")
        for index, (name, step) in enumerate(zip(names, steps, strict=True))
    }
