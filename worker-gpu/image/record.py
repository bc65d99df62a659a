"""Record the protocol of a running ComfyUI: `python image/record.py INTO [--url URL] [--root FOLDER …]`.

It must have `test/fixtures/comfyui/probe_nodes` among its custom nodes. The cases are those of the oldest recording:
graphs that one client runs are read from there, those of two clients side by side are below. INTO is
`test/fixtures/comfyui/VERSION`. Give ComfyUI's folders as `--root`, which tracebacks name. Needs aiohttp.
"""

# ruff: noqa: T201 -- a command that prints its result
import argparse
import asyncio
import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp

OLDEST = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "comfyui" / "0.3.64"
UPLOAD = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
INTERRUPT_AFTER_S = 2
QUIET_S = 0.6
"""Messages that arrive this long after the last step belong to the recording."""
ENDS = {"execution_success", "execution_error", "execution_interrupted"}
IMAGE = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0x3366CC}}

Json: TypeAlias = Any  # The JSON of ComfyUI, unchanged.
Steps: TypeAlias = "Callable[[Client, str, str], Awaitable[list[Json]]]"


class Recorded:
    """The messages of one socket, with seconds since it was opened."""

    def __init__(self) -> None:
        self.messages: list[Json] = []
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self._opened = time.monotonic()

    def add(self, message: aiohttp.WSMessage) -> None:
        """Record a message. Sets `begun` at the first message and `ended` at the end of a prompt."""
        at = round(time.monotonic() - self._opened, 3)
        if message.type is aiohttp.WSMsgType.BINARY:
            self.messages.append({"t": at, "binary": base64.b64encode(message.data).decode()})
        else:
            text = json.loads(message.data)
            self.messages.append({"t": at, "text": text})
            if text.get("type") in ENDS:
                self.ended.set()
        self.begun.set()


class Client:
    """A client of one ComfyUI."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def get(self, path: str) -> Json:
        """GET a path and return the JSON."""
        async with self.http.get(self.url + path) as answer:
            return await answer.json()

    async def post(self, path: str, body: Json) -> tuple[int, Json]:
        """POST a body and return status and JSON; None without JSON."""
        async with self.http.post(self.url + path, json=body) as answer:
            return answer.status, await answer.json() if answer.content_type == "application/json" else None

    async def prompt(self, graph: Json, client: str, **more: Json) -> Json:
        """Post a prompt that is accepted, and return the response."""
        return (await self.post("/prompt", {"prompt": graph, "client_id": client, **more}))[1]

    async def upload(self) -> Json:
        """Upload an image as `uploaded.png`."""
        form = aiohttp.FormData({"overwrite": "true"})
        form.add_field("image", UPLOAD, filename="uploaded.png", content_type="image/png")
        async with self.http.post(f"{self.url}/upload/image", data=form) as answer:
            return await answer.json()

    async def listen(self, client: str, recorded: Recorded, features: Json = None) -> None:
        """Record the messages of the socket of a client."""
        async with self.http.ws_connect(f"{self.url}/ws", params={"clientId": client}, max_msg_size=0) as socket:
            if features is not None:
                await socket.send_json({"type": "feature_flags", "data": features})
            async for message in socket:
                recorded.add(message)


async def one_client(comfy: Client, name: str, graph: Json) -> Json:
    """One client, one prompt."""
    client, recorded = uuid.uuid4().hex, Recorded()
    task = asyncio.create_task(comfy.listen(client, recorded))
    await recorded.begun.wait()
    uploaded = await comfy.upload() if name == "load_uploaded_image" else None
    status, body = await comfy.post("/prompt", {"prompt": graph, "client_id": client})
    history = None
    if status == 200:
        if name == "interrupted":
            await asyncio.sleep(INTERRUPT_AFTER_S)
            await comfy.post("/interrupt", {"prompt_id": body["prompt_id"]})
        await recorded.ended.wait()
        await asyncio.sleep(QUIET_S)
        history = await comfy.get(f"/history/{body['prompt_id']}")
    task.cancel()
    return {
        "client_id": client,
        "prompt": graph,
        "upload_response": uploaded,
        "prompt_response": {"status": status, "body": body},
        "websocket_messages": recorded.messages,
        "history": history,
    }


async def two_clients(comfy: Client, steps: Steps, features: Json) -> Json:
    """Record the sockets of two clients while `steps` run."""
    one, other, of_one, of_other = uuid.uuid4().hex, uuid.uuid4().hex, Recorded(), Recorded()
    tasks = [
        asyncio.create_task(comfy.listen(one, of_one, features)),
        asyncio.create_task(comfy.listen(other, of_other)),
    ]
    await of_one.begun.wait()
    await of_other.begun.wait()
    taken = await steps(comfy, one, other)
    await asyncio.sleep(QUIET_S)
    for task in tasks:
        task.cancel()
    return {
        "client_a": one,
        "client_b": other,
        "steps": taken,
        "websocket_a": of_one.messages,
        "websocket_b": of_other.messages,
    }


def slow(steps: int, seconds: float, preview: bool = False) -> Json:
    """A graph that takes its time."""
    inputs = {"image": ["1", 0], "steps": steps, "seconds": seconds, "preview": preview}
    return {"1": IMAGE, "5": {"class_type": "SlowSteps", "inputs": inputs}, "2": save("5")}


def save(source: str, prefix: str = "t") -> Json:
    """A node that saves."""
    return {"class_type": "SaveImage", "inputs": {"images": [source, 0], "filename_prefix": prefix}}


async def _second_deleted(comfy: Client, one: str, _other: str) -> list[Json]:
    first = await comfy.prompt(slow(10, 2.0), one)
    small = {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": 0x3366CC}}
    second = await comfy.prompt({"1": small, "2": save("1", "second")}, one)
    await asyncio.sleep(0.3)
    before = await comfy.get("/queue")
    status, _ = await comfy.post("/queue", {"delete": [second["prompt_id"]]})
    await asyncio.sleep(0.2)
    after = await comfy.get("/queue")
    await asyncio.sleep(2.5)
    return [
        {"queue": before},
        {"delete_second_status": status},
        {"queue_after_delete": after},
        {
            "history_first": await comfy.get(f"/history/{first['prompt_id']}"),
            "history_second": await comfy.get(f"/history/{second['prompt_id']}"),
        },
    ]


async def _front_and_number(comfy: Client, _one: str, other: str) -> list[Json]:
    answers = [await comfy.prompt(slow(2, 0.6), other, **more) for more in ({}, {"front": True}, {"number": -5})]
    await asyncio.sleep(0.2)
    queue = await comfy.get("/queue")
    await asyncio.sleep(3)
    return [*answers, queue]


async def _previews(comfy: Client, one: str, _other: str) -> list[Json]:
    answer = await comfy.prompt(slow(3, 1.0, preview=True), one)
    await asyncio.sleep(2)
    return [answer]


async def _late(comfy: Client, _one: str, _other: str) -> list[Json]:
    late, recorded = uuid.uuid4().hex, Recorded()
    answer = await comfy.prompt(slow(10, 3.0), late)
    await asyncio.sleep(1.2)
    task = asyncio.create_task(comfy.listen(late, recorded))
    await asyncio.sleep(2.8)
    task.cancel()
    return [answer, {"late_client": late, "websocket_late": recorded.messages}]


async def _own_id(comfy: Client, one: str, _other: str) -> list[Json]:
    graph = {"1": IMAGE, "2": save("1")}
    answer = await comfy.prompt(graph, one, prompt_id=str(uuid.uuid4()))
    await asyncio.sleep(0.5)
    status, body = await comfy.post("/prompt", {"prompt": graph, "client_id": one, "prompt_id": "not a uuid"})
    await asyncio.sleep(0.5)
    return [answer, {"status": status, "body": body}]


async def _one_invalid(comfy: Client, one: str, _other: str) -> list[Json]:
    missing = {"class_type": "LoadImage", "inputs": {"image": "missing.png"}}
    graph = {"1": IMAGE, "2": save("1", "good"), "3": save("9", "bad"), "9": missing}
    status, body = await comfy.post("/prompt", {"prompt": graph, "client_id": one})
    await asyncio.sleep(1)
    return [{"status": status, "body": body}, {"history": await comfy.get(f"/history/{body['prompt_id']}")}]


SIDE_BY_SIDE: dict[str, tuple[Steps, Json]] = {
    "queue_of_two_second_deleted": (_second_deleted, None),
    "queue_order_front_and_number": (_front_and_number, None),
    "previews_with_metadata": (_previews, {"supports_preview_metadata": True}),
    "client_connects_in_mid_run": (_late, None),
    "own_prompt_id": (_own_id, None),
    "one_output_invalid_answers_200": (_one_invalid, None),
}


async def record(url: str, cases: dict[str, Json]) -> dict[str, Json]:
    """What each case came to, by its name. `cases` are the recordings of the oldest version."""
    found: dict[str, Json] = {}
    async with aiohttp.ClientSession() as http:
        comfy = Client(http, url)
        version = (await comfy.get("/system_stats"))["system"]["comfyui_version"]
        for name, old in cases.items():
            if name in SIDE_BY_SIDE:
                recorded = await two_clients(comfy, *SIDE_BY_SIDE[name])
            elif "prompt_response" in old:
                recorded = await one_client(comfy, name, old["prompt"])
            else:
                continue
            found[name] = {"case": name, "comfyui_version": version, **recorded}
            print(f"{name}: recorded")
    return found


def main() -> None:
    """Parse the arguments and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8188")
    parser.add_argument("--root", action="append", default=[], help="a folder of this machine to call /comfyui")
    options = parser.parse_args()
    cases = {path.stem: json.loads(path.read_text()) for path in sorted(OLDEST.glob("*.json"))}
    found = asyncio.run(record(options.url, cases))
    options.into.mkdir(parents=True, exist_ok=True)
    for name, recorded in found.items():
        text = json.dumps(recorded, indent=1)
        for root in options.root:
            text = text.replace(root.rstrip("/"), "/comfyui")
        (options.into / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
