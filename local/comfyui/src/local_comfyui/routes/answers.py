"""Shared parts of routes: the engine, request bodies, and ComfyUI's error responses."""

from aiohttp import web

from local_comfyui.engine import Engine
from local_comfyui.json_types import Json, JsonObject, as_object, parse_json

ENGINE: web.AppKey[Engine] = web.AppKey("engine", Engine)


def engine_of(request: web.Request) -> Engine:
    """The engine behind the application."""
    return request.app[ENGINE]


def ok() -> web.Response:
    """An empty 200, ComfyUI's response to most commands."""
    return web.Response(status=200)


def empty(status: int) -> web.Response:
    """An empty response with a status."""
    return web.Response(status=status)


def problem(status: int, text: str) -> web.Response:
    """The error shape of the jobs routes."""
    return web.json_response({"error": text}, status=status)


class NotJson(Exception):  # noqa: N818 -- answered by the middleware
    """A body that is not JSON."""


async def body_of(request: web.Request, *, required: bool = True) -> JsonObject:
    """The JSON object in the body. The content type is ignored (clients send text/plain). Raises `NotJson`."""
    raw = await request.read()
    if not raw and not required:
        return {}
    try:
        value: Json = parse_json(raw)
    except ValueError as cause:
        raise NotJson from cause
    return as_object(value)


def internal_error() -> web.Response:
    """ComfyUI's answer to a body that is not JSON: aiohttp's plain 500."""
    return web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble")
