"""ComfyUI's own share of a job: a client that posts a graph, waits for its end, and takes nothing away."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from cases import INPUT, Case

END_S = 60.0


class Bare:
    """A client whose socket is open before the first graph."""

    def __init__(self, http: aiohttp.ClientSession, url: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._http = http
        self._url = url
        self._socket = socket

    async def run(self, case: Case, seed: int) -> float:
        """Milliseconds from `execution_start` to `execution_success`, by the times that ComfyUI puts into them."""
        if case.file is not None:
            form = aiohttp.FormData({"overwrite": "true"})
            form.add_field("image", case.file(seed), filename=INPUT)
            async with self._http.post(f"{self._url}/upload/image", data=form) as response:
                response.raise_for_status()
        body = {"prompt": case.graph(seed), "client_id": "bare"}
        async with self._http.post(f"{self._url}/prompt", json=body) as response:
            response.raise_for_status()
            prompt: str = (await response.json())["prompt_id"]
        return await self._end_of(prompt)

    async def _end_of(self, prompt: str) -> float:
        started = ended = 0.0
        while True:
            frame = await self._socket.receive(END_S)
            if frame.type is aiohttp.WSMsgType.BINARY:
                continue
            message = json.loads(frame.data)
            kind, data = message["type"], message["data"]
            if data.get("prompt_id") != prompt:
                continue
            if kind == "execution_start":
                started = data["timestamp"]
            elif kind == "execution_success":
                ended = data["timestamp"]
            elif kind == "execution_error":
                raise SystemExit(f"the graph fails: {data.get('exception_message')}")
            elif kind == "executing" and data["node"] is None:
                return ended - started


@asynccontextmanager
async def bare_client(url: str) -> AsyncGenerator[Bare]:
    """A `Bare` of the ComfyUI at `url`."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws?clientId=bare", max_msg_size=0) as socket:
        yield Bare(http, url, socket)
