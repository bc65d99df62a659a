"""Single HTTP calls to ComfyUI, and the errors of a call without a response."""

import asyncio
import errno

import aiohttp

from worker_gpu.json_readers import Json, JsonObject, ShapeError, decode, encode
from worker_gpu.timeouts import Timeouts

MAX_ERROR_BYTES = 4 * 1024 * 1024
"""A refusal repeats the choices of each list input; more than this is not read."""


class ComfyUnreachable(Exception):  # noqa: N818 -- a state of ComfyUI, not of the code
    """ComfyUI did not answer, or answered what it never should. `undecided`: it may still do what it was asked.
    `refused`: nothing listens where it should be."""

    def __init__(self, message: str, undecided: bool = False, refused: bool = False) -> None:
        super().__init__(message)
        self.undecided = undecided
        self.refused = refused


class Calls:
    """Calls to the ComfyUI at `url`, over a session that is kept open. `stall_limit` is for answers that take long."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeouts: Timeouts) -> None:
        self.session = session
        self.url = url
        self.stall_limit = aiohttp.ClientTimeout(total=None, sock_read=timeouts.transfer_stall_s)
        self._call_limit = aiohttp.ClientTimeout(total=timeouts.comfy_call_s)

    async def answer(
        self, method: str, path: str, body: JsonObject | None = None, limit: aiohttp.ClientTimeout | None = None
    ) -> tuple[int, Json]:
        """As `ask`; a 5xx of ComfyUI raises. Raises `ComfyUnreachable`."""
        status, answer = await self.ask(method, path, body, limit)
        if status >= 500:
            raise ComfyUnreachable(f"{path.split('?')[0]} answered {status}")
        return status, answer

    async def ask(
        self, method: str, path: str, body: JsonObject | None = None, limit: aiohttp.ClientTimeout | None = None
    ) -> tuple[int, Json]:
        """Return the status and JSON of a response; null for a body that is not JSON. Raises `ComfyUnreachable`."""
        data = encode(body).encode() if body is not None else None
        headers = {"content-type": "application/json"} if data is not None else None
        try:
            async with self.session.request(
                method, self.url + path, data=data, headers=headers, timeout=limit or self._call_limit
            ) as response:
                return response.status, await read(response)
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            waited = isinstance(error, TimeoutError)
            refused = isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
            raise ComfyUnreachable(f"{path.split('?')[0]}: {type(error).__name__}", waited, refused) from error


async def read(response: aiohttp.ClientResponse) -> Json:
    """Return the JSON of a response; null for a body that is not JSON."""
    raw = await response.read()
    if response.status >= 400:
        raw = raw[:MAX_ERROR_BYTES]
    try:
        return decode(raw)
    except ShapeError:
        return None
