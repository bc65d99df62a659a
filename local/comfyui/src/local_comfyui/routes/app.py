"""The application: every route twice (root and /api), and what guards them."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from local_comfyui.engine import Engine
from local_comfyui.routes import info, jobs, prompts, uploads, view
from local_comfyui.routes.answers import ENGINE, NotJson, empty, internal_error

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@web.middleware
async def refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """403 for what a page of another origin sends to a server on loopback, as ComfyUI does."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return empty(403)
    origin = request.headers.get("Origin")
    if origin is not None:
        asked, came_from = urlsplit(f"//{request.host}"), urlsplit(origin)
        ours = (asked.hostname, asked.port) == (came_from.hostname, came_from.port)
        if asked.hostname in LOOPBACK and not ours:
            return empty(403)
    return await handler(request)


@web.middleware
async def answer_bad_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """ComfyUI's 500 for a body that is not JSON."""
    try:
        return await handler(request)
    except NotJson:
        return internal_error()


def build_app(engine: Engine) -> web.Application:
    """The server's application; starting and stopping the engine is the caller's."""
    app = web.Application(
        client_max_size=engine.options.max_upload_bytes, middlewares=[refuse_foreign_pages, answer_bad_json]
    )
    app[ENGINE] = engine
    for table in (prompts.routes, info.routes, view.routes, uploads.routes):
        for route in table:
            if isinstance(route, web.RouteDef):
                route.register(app.router)
                web.RouteDef(route.method, "/api" + route.path, route.handler, route.kwargs).register(app.router)
    app.router.add_routes(jobs.routes)
    app.router.add_get("/ws", engine.sockets.handle)
    app.router.add_get("/api/ws", engine.sockets.handle)
    return app
