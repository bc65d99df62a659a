"""POST /prompt, the queue, the history, interrupting and freeing."""

import time
import uuid

from aiohttp import web

from local_comfyui.input_rules import fault
from local_comfyui.job_folders import job_folders_of
from local_comfyui.json_types import JsonObject, as_object, as_strings
from local_comfyui.prompt_queue import Freeing, Queued
from local_comfyui.routes.answers import body_of, engine_of, ok
from local_comfyui.validation import Refused, validate

SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")
"""Keys of extra_data that are never kept: `/queue` and `/history` would show them."""

routes = web.RouteTableDef()


@routes.get("/prompt")
async def get_prompt(request: web.Request) -> web.Response:
    """How many prompts are unfinished."""
    return web.json_response({"exec_info": {"queue_remaining": engine_of(request).queue.remaining()}})


@routes.post("/prompt")
async def post_prompt(request: web.Request) -> web.Response:
    """Validate and queue a prompt: 200 `{prompt_id, number, node_errors}`, or 400 `{error, node_errors}`.

    The number grows with every call that has none of its own, including rejected ones.
    """
    engine, body = engine_of(request), await body_of(request)
    wanted = body.get("number")
    if isinstance(wanted, int | float):
        number = float(wanted)
    else:
        number = next(engine.numbers)
        number = -number if body.get("front") else number
    prompt = body.get("prompt")
    if not isinstance(prompt, dict):
        error = fault("no_prompt", "No prompt provided", "No prompt provided")
        return web.json_response({"error": error, "node_errors": {}}, status=400)
    targets = body.get("partial_execution_targets")
    job = job_folders_of(as_object(body.get("extra_data")))
    folders = engine.folders if job is None else job.folders
    judged = validate(prompt, engine.catalog, folders, as_strings(targets) if isinstance(targets, list) else None)
    if isinstance(judged, Refused):
        return web.json_response({"error": judged.error, "node_errors": judged.node_errors}, status=400)
    chosen = body.get("prompt_id")
    prompt_id = str(chosen) if chosen is not None else str(uuid.uuid4())
    extra_data = {key: value for key, value in as_object(body.get("extra_data")).items() if key not in SECRETS}
    if "client_id" in body:
        extra_data["client_id"] = body["client_id"]
    kept: JsonObject = {}
    for node in judged.graph.values():
        raw = as_object(prompt[node.id])
        kept[node.id] = {**raw, "inputs": {**as_object(raw.get("inputs")), **node.inputs}}
    created = time.time_ns() // 1_000_000
    engine.queue.put(Queued(number, prompt_id, kept, extra_data, judged.outputs, judged.graph, created))
    return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": judged.node_errors})


@routes.get("/queue")
async def get_queue(request: web.Request) -> web.Response:
    """Running and waiting prompts."""
    running, waiting = engine_of(request).queue.now()
    return web.json_response(
        {"queue_running": [item.as_tuple() for item in running], "queue_pending": [item.as_tuple() for item in waiting]}
    )


@routes.post("/queue")
async def post_queue(request: web.Request) -> web.Response:
    """`{clear: true}` drops every waiting prompt, `{delete: [ids]}` some."""
    queue, body = engine_of(request).queue, await body_of(request)
    if body.get("clear"):
        queue.clear()
    for prompt_id in as_strings(body.get("delete")):
        queue.delete(prompt_id)
    return ok()


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name, "")
    return int(text) if text.lstrip("-").isdecimal() else None


@routes.get("/history")
async def get_history(request: web.Request) -> web.Response:
    """Ended prompts by id; `max_items`, `offset`."""
    offset = _whole(request, "offset")
    found = engine_of(request).queue.history(_whole(request, "max_items"), -1 if offset is None else offset)
    return web.json_response({prompt_id: ended.entry for prompt_id, ended in found.items()})


@routes.get("/history/{prompt_id}")
async def get_history_of(request: web.Request) -> web.Response:
    """One ended prompt under its id; `{}` while it is unfinished or unknown."""
    prompt_id = request.match_info["prompt_id"]
    ended = engine_of(request).queue.ended(prompt_id)
    return web.json_response({} if ended is None else {prompt_id: ended.entry})


@routes.post("/history")
async def post_history(request: web.Request) -> web.Response:
    """`{clear: true}` deletes every ended prompt, `{delete: [ids]}` some."""
    queue, body = engine_of(request).queue, await body_of(request)
    if body.get("clear"):
        queue.clear_history()
    for prompt_id in as_strings(body.get("delete")):
        queue.delete_history(prompt_id)
    return ok()


@routes.post("/interrupt")
async def post_interrupt(request: web.Request) -> web.Response:
    """Stop the running prompt; with `prompt_id` only if it is that one."""
    body = await body_of(request, required=False)
    prompt_id = body.get("prompt_id")
    engine_of(request).queue.interrupt(prompt_id if isinstance(prompt_id, str) and prompt_id else None)
    return ok()


@routes.post("/free")
async def post_free(request: web.Request) -> web.Response:
    """`{free_memory: true}` forgets all results. The engine has no models to unload."""
    body = await body_of(request)
    engine_of(request).queue.free(Freeing(forget_results=bool(body.get("free_memory"))))
    return ok()
