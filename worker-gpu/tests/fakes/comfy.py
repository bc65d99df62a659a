"""A ComfyUI without an engine: it queues prompts and plays a script for each, with history written when ComfyUI writes
it. Faults are attributes that a test sets."""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TypeAlias

from aiohttp import WSMsgType, web

from fakes.notification import Notification
from fakes.recordings import Recording, object_info
from worker_gpu.comfyui_extension.comfy_edge.written_files import Root, WrittenFiles
from worker_gpu.job.folders import Folders
from worker_gpu.json_readers import Json, JsonObject, decode, maybe_list, maybe_object, maybe_text, need_object

PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 8
CONTENT = {
    "png": PNG,
    "webp": b"RIFF\x10\x00\x00\x00WEBPVP8L" + b"moving" * 8,
    "mp4": b"\x00\x00\x00\x20ftypisom" + b"film" * 8,
    "webm": b"\x1a\x45\xdf\xa3\x01\x42\x82\x84webm" + b"film" * 8,
}
"""What a file of that extension holds here."""


@dataclass
class Prompt:
    """A prompt that was posted."""

    prompt_id: str
    graph: JsonObject
    client_id: str
    extra: JsonObject
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def own(self) -> Folders:
        """The folders that are its own, in a ComfyUI of the worker's."""
        given = maybe_object(maybe_object(self.extra.get("comfy_edge")).get("folders"))
        return Folders(*(Path(maybe_text(given.get(name)) or "") for name in ("input", "output", "temp")))

    @property
    def has_own_folders(self) -> bool:
        """Whether the worker started this ComfyUI."""
        return "comfy_edge" in self.extra

    @property
    def folder(self) -> str:
        """First folder of its save prefixes: the job's own, where jobs share ComfyUI's folders."""
        if self.has_own_folders:
            return ""
        for node in map(maybe_object, self.graph.values()):
            prefix = maybe_text(maybe_object(node.get("inputs")).get("filename_prefix"))
            if prefix is not None and "/" in prefix:
                return prefix.split("/")[0]
        return ""


Script: TypeAlias = "Callable[[FakeComfy, Prompt], Awaitable[JsonObject | None]]"
"""Plays a prompt; gives its history entry, None for none."""


class FakeComfy:
    """`script` runs for each prompt accepted. `answer`, where set, is given to `/prompt` instead of accepting."""

    def __init__(self, script: Script, jobs_api: bool = False) -> None:
        self.script = script
        self.answer: tuple[int, Json] | None = None
        self.prompts: list[Prompt] = []
        self.running: Prompt | None = None
        self.pending: list[Prompt] = []
        self.history: dict[str, JsonObject] = {}
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.written: dict[tuple[str, str, str], float] = {}
        """When one of `files` was written, in seconds since 1970; where it does not say, now."""
        self.inputs: dict[str, bytes] = {}
        self.writers: dict[str, str] = {}
        """Node that wrote the file at a path of a job's own folders."""
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.first_frames: list[str] = []
        self.connections = 0
        self.calls: list[str] = []
        self.deleted: list[str] = []
        self.nodes: JsonObject | None = None
        """Its node classes, where they are other ones than the recorded."""
        self.hang: asyncio.Event | None = None
        """Where set: calls are answered when it is."""
        self.unwell = False
        """Answers 503 to everything but the socket."""
        self.failing: dict[str, int] = {}
        """Answers 500 so often to a method and the first word of a path, such as `GET /history`."""
        self.hold_prompts: asyncio.Event | None = None
        """Where set: `/prompt` is answered, and the prompt queued, only when it is."""
        self.hold_deletions: asyncio.Event | None = None
        """Where set: history is deleted only when it is."""
        self.lose_answers = 0
        """So many answers to `/prompt` are lost: those of `lose_prompts` with their prompts."""
        self.lose_prompts = False
        self.most_views = 0
        """The most calls to `/view` that waited for an answer at one moment; each waits for `view_s`."""
        self.view_s = 0.0
        self._views = 0
        self.reports_by_message = True
        """Whether the worker's package inside it sends its report, besides putting it into the history."""
        self.notice = Notification()
        self._jobs_api = jobs_api
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, prompt: Prompt, frame: str | bytes) -> None:
        """To the client that submitted the prompt, if it is there."""
        socket = self.sockets.get(prompt.client_id)
        if socket is None or socket.closed:
            return
        # A client that was cut off a moment ago hears nothing, and ComfyUI goes on.
        with contextlib.suppress(ConnectionError):
            if isinstance(frame, str):
                await socket.send_str(frame)
            else:
                await socket.send_bytes(frame)

    async def tell(self, prompt: Prompt, kind: str, **data: Json) -> None:
        """A JSON message about `prompt`."""
        await self.send(prompt, json.dumps({"type": kind, "data": {**data, "prompt_id": prompt.prompt_id}}))

    async def tell_status(self) -> None:
        """To everyone: how many prompts there are."""
        for socket in list(self.sockets.values()):
            await socket.send_str(self._status())

    def _status(self) -> str:
        remaining = len(self.pending) + (self.running is not None)
        return json.dumps({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": remaining}}}})

    async def drop_sockets(self) -> None:
        """Cut every socket without a word."""
        for socket in list(self.sockets.values()):
            transport = socket._req.transport if socket._req is not None else None  # pyright: ignore[reportPrivateUsage]
            if transport is not None:
                transport.abort()

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._note], client_max_size=2**30)
        app.on_shutdown.append(self._let_go)
        app.add_routes(
            [
                web.get("/ws", self._ws),
                web.post("/prompt", self._prompt),
                web.get("/queue", self._queue),
                web.post("/queue", self._delete_queued),
                web.get("/history/{id}", self._history),
                web.post("/history", self._delete_history),
                web.post("/interrupt", self._interrupt),
                web.post("/free", self._empty),
                web.get("/view", self._view),
                web.post("/upload/image", self._upload),
                web.get("/system_stats", self._stats),
                web.get("/object_info", self._object_info),
            ]
        )
        if self._jobs_api:
            app.add_routes(
                [
                    web.get("/api/jobs", self._empty),
                    web.get("/api/jobs/{id}", self._job),
                    web.post("/api/jobs/{id}/cancel", self._cancel_job),
                ]
            )
        return app

    async def _let_go(self, _app: web.Application) -> None:
        """The server waits for calls that are not answered."""
        if self.hang is not None:
            self.hang.set()

    @web.middleware
    async def _note(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        if self.hang is not None and request.path != "/ws":
            await self.hang.wait()
        if self.unwell and request.path != "/ws":
            await self.notice.tell()
            return web.Response(status=503)
        asked = f"{request.method} /{request.path.split('/')[1]}"
        if self.failing.get(asked, 0) > 0:
            self.failing[asked] -= 1
            await self.notice.tell()
            return web.Response(status=500)
        answer = await handler(request)
        await self.notice.tell()
        return answer

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query["clientId"]
        self.sockets[client] = socket
        self.connections += 1
        await socket.send_str(self._status())
        await self.notice.tell()
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                self.first_frames.append(frame.data)
        if self.sockets.get(client) is socket:
            del self.sockets[client]
        await self.notice.tell()
        return socket

    async def _prompt(self, request: web.Request) -> web.Response:
        body = need_object(decode(await request.read()), "prompt")
        prompt_id = maybe_text(body.get("prompt_id")) or ""
        if self.hold_prompts is not None:
            await self.notice.tell()
            await self.hold_prompts.wait()
        if self.answer is not None and self.answer[0] != 200:
            return web.json_response(self.answer[1], status=self.answer[0])
        lost, self.lose_answers = self.lose_answers > 0, max(0, self.lose_answers - 1)
        if lost and self.lose_prompts:
            raise _cut(request)
        prompt = Prompt(
            prompt_id,
            maybe_object(body.get("prompt")),
            maybe_text(body.get("client_id")) or "",
            maybe_object(body.get("extra_data")),
        )
        self.prompts.append(prompt)
        self.pending.append(prompt)
        self._next()
        if lost:
            raise _cut(request)
        answer: JsonObject = {"number": 0, "node_errors": {}}
        if self.answer is not None:
            answer = maybe_object(self.answer[1])
        return web.json_response({**answer, "prompt_id": prompt_id})

    def _next(self) -> None:
        if self.running is None and self.pending:
            self.running = self.pending.pop(0)
            task = asyncio.create_task(self._play(self.running))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _play(self, prompt: Prompt) -> None:
        written, began = _watch(prompt), time.time_ns() // 1_000_000
        entry: JsonObject | None = await self.script(self, prompt)
        if entry is not None and written is not None:
            files: list[Json] = [{**file, "node": self.writers.get(file["path"], "")} for file in written.report()]
            reported: JsonObject = {"files": files, "nodes": {}}
            entry = {**entry, "comfy_edge": reported}
            if self.reports_by_message:
                await self.tell(prompt, "comfy_edge", **reported)
        if entry is not None:
            self.history[prompt.prompt_id] = _with_start(entry, began)
        self.running = None
        # ComfyUI says this after the history is written.
        await self.send(
            prompt, json.dumps({"type": "executing", "data": {"node": None, "prompt_id": prompt.prompt_id}})
        )
        await self.notice.tell()
        self._next()

    async def _queue(self, request: web.Request) -> web.Response:
        del request
        running: list[Json] = [[0, self.running.prompt_id, {}, {}, []]] if self.running is not None else []
        pending: list[Json] = [[0, prompt.prompt_id, {}, {}, []] for prompt in self.pending]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _delete_queued(self, request: web.Request) -> web.Response:
        gone = maybe_list(maybe_object(decode(await request.read())).get("delete"))
        self.pending = [prompt for prompt in self.pending if prompt.prompt_id not in gone]
        return web.Response()

    async def _history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        entry = self.history.get(prompt_id)
        return web.json_response({prompt_id: entry} if entry is not None else {})

    async def _delete_history(self, request: web.Request) -> web.Response:
        if self.hold_deletions is not None:
            await self.notice.tell()
            await self.hold_deletions.wait()
        for prompt_id in maybe_list(maybe_object(decode(await request.read())).get("delete")):
            if isinstance(prompt_id, str):
                self.deleted.append(prompt_id)
                self.history.pop(prompt_id, None)
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        prompt_id = maybe_object(decode(await request.read())).get("prompt_id")
        if self.running is not None and self.running.prompt_id == prompt_id:
            self.running.interrupted.set()
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        query = request.query
        self._views += 1
        self.most_views = max(self.most_views, self._views)
        await asyncio.sleep(self.view_s)
        self._views -= 1
        content = self.files.get((query.get("type", "output"), query.get("subfolder", ""), query["filename"]))
        if content is None:
            return web.Response(status=404)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return web.Response(status=304)
        written = self.written.get((query.get("type", "output"), query.get("subfolder", ""), query["filename"]))
        age: dict[str, str] = {"last-modified": formatdate(written if written is not None else time.time())}
        return web.Response(body=content, headers={"etag": etag, **age})

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image, subfolder = form["image"], form["subfolder"]
        assert isinstance(image, web.FileField)
        assert isinstance(subfolder, str)
        self.inputs[f"{subfolder}/{image.filename}"] = image.file.read()
        return web.json_response({"name": image.filename, "subfolder": subfolder, "type": "input"})

    async def _stats(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"system": {"comfyui_version": "0.3.64"}, "devices": [{"name": "cpu", "type": "cpu"}]})

    async def _object_info(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self.nodes if self.nodes is not None else object_info())

    async def _empty(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({})

    async def _job(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        if self.running is not None and self.running.prompt_id == prompt_id:
            return web.json_response({"id": prompt_id, "status": "in_progress"})
        if any(prompt.prompt_id == prompt_id for prompt in self.pending):
            return web.json_response({"id": prompt_id, "status": "pending"})
        entry = self.history.get(prompt_id)
        if entry is None:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response({"id": prompt_id, **_ended_job(entry)})

    async def _cancel_job(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        if self.running is not None and self.running.prompt_id == prompt_id:
            self.running.interrupted.set()
            return web.json_response({"cancelled": True})
        before = len(self.pending)
        self.pending = [prompt for prompt in self.pending if prompt.prompt_id != prompt_id]
        return web.json_response({"cancelled": len(self.pending) < before})


def _ended_job(entry: JsonObject) -> JsonObject:
    """A history entry as the jobs API tells it."""
    status = maybe_object(entry.get("status"))
    if status.get("status_str") != "error":
        return {"status": "completed", "outputs": entry.get("outputs")}
    said = {str(message[0]): message[1] for message in map(maybe_list, maybe_list(status.get("messages")))}
    if "execution_interrupted" in said:
        return {"status": "cancelled"}
    return {"status": "failed", "execution_error": said.get("execution_error")}


def _watch(prompt: Prompt) -> WrittenFiles | None:
    """What the worker's package notes inside a ComfyUI of the worker's."""
    if not prompt.has_own_folders:
        return None
    return WrittenFiles((Root("output", str(prompt.own.output)), Root("temp", str(prompt.own.temp))))


def _with_start(entry: JsonObject, began_ms: int) -> JsonObject:
    """A history entry that says when its prompt began, as ComfyUI's do."""
    status = maybe_object(entry.get("status"))
    messages = maybe_list(status.get("messages"))
    if any(maybe_list(message)[:1] == ["execution_start"] for message in messages):
        return entry
    start: JsonObject = {"timestamp": began_ms}
    reported: list[Json] = [["execution_start", start], *messages]
    return {**entry, "status": {**status, "messages": reported}}


def _cut(request: web.Request) -> Exception:
    """Close the connection without an answer; raise what this gives."""
    assert request.transport is not None
    request.transport.abort()
    return web.HTTPInternalServerError()


@dataclass(frozen=True)
class Gate:
    """Holds a script back before the first message of type `before`, until `open` is set."""

    before: str
    open: asyncio.Event = field(default_factory=asyncio.Event)


def playing(recorded: Recording, cut_before: str | None = None, gate: Gate | None = None) -> Script:
    """Plays a recording under the ids and folder of the prompt that was posted. `cut_before`: all sockets are cut when
    the first message of that type would go out, and nothing more is sent."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        entry = placed(recorded.entry, recorded, prompt)
        for ref in files_in(entry):
            comfy.files[ref] = CONTENT[ref[2].rpartition(".")[2]]
        for frame in recorded.frames:
            adapted = _adapt_frame(frame, recorded, prompt)
            kind = maybe_object(decode(adapted)).get("type") if isinstance(adapted, str) else "binary"
            if kind == cut_before:
                await comfy.drop_sockets()
                return entry
            if gate is not None and kind == gate.before:
                await gate.open.wait()
            if not _is_last(adapted):
                await comfy.send(prompt, adapted)
        return entry

    return script


def put_files(comfy: FakeComfy, recorded: Recording, prompt: Prompt) -> JsonObject:
    """The recording's history entry under the prompt's id; the files it lists are there."""
    entry = placed(recorded.entry, recorded, prompt)
    for ref in files_in(entry):
        comfy.files[ref] = CONTENT[ref[2].rpartition(".")[2]]
    return entry


def frames_of(recorded: Recording, prompt: Prompt | None = None) -> list[str | bytes]:
    """The recording's messages, adapted to `prompt`, less the last, which the fake sends itself."""
    adapted = [_adapt_frame(f, recorded, prompt) if prompt is not None else f for f in recorded.frames]
    return [frame for frame in adapted if not _is_last(frame)]


def holding(lets_go: bool = True) -> Script:
    """Runs until it is interrupted; for ever, if it does not `lets_go`."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        await prompt.interrupted.wait()
        if not lets_go:
            await asyncio.Event().wait()
        data: JsonObject = {"prompt_id": prompt.prompt_id}
        return {
            "outputs": {},
            "status": {"status_str": "error", "completed": False, "messages": [["execution_interrupted", data]]},
        }

    return script


def placed(entry: JsonObject | None, recorded: Recording, prompt: Prompt) -> JsonObject:
    """A history entry under the prompt's id, its output files in the prompt's folder."""
    assert entry is not None
    return maybe_object(decode(_adapt(json.dumps(entry), recorded, prompt)))


def files_in(value: Json) -> list[tuple[str, str, str]]:
    """Type, subfolder and name of every file that an entry lists."""
    if isinstance(value, dict):
        name = maybe_text(value.get("filename"))
        if name is not None:
            return [(maybe_text(value.get("type")) or "", maybe_text(value.get("subfolder")) or "", name)]
        return [ref for item in value.values() for ref in files_in(item)]
    return [ref for item in value for ref in files_in(item)] if isinstance(value, list) else []


def _adapt_frame(frame: str | bytes, recorded: Recording, prompt: Prompt) -> str | bytes:
    """Ids are all of one length, so a preview's metadata keeps its own."""
    if isinstance(frame, bytes):
        return frame.replace(recorded.prompt_id.encode(), prompt.prompt_id.encode())
    return _adapt(frame, recorded, prompt)


def _adapt(text: str, recorded: Recording, prompt: Prompt) -> str:
    return json.dumps(_in_folder(decode(text.replace(recorded.prompt_id, prompt.prompt_id)), prompt.folder))


def _in_folder(value: Json, folder: str) -> Json:
    if isinstance(value, dict):
        if value.get("type") == "output" and isinstance(value.get("filename"), str) and folder:
            below = maybe_text(value.get("subfolder"))
            return {**value, "subfolder": f"{folder}/{below}" if below else folder}
        return {name: _in_folder(item, folder) for name, item in value.items()}
    return [_in_folder(item, folder) for item in value] if isinstance(value, list) else value


def _is_last(frame: str | bytes) -> bool:
    """`executing` without a node, which the fake sends itself once the history is written."""
    if isinstance(frame, bytes):
        return False
    message = maybe_object(decode(frame))
    return message.get("type") == "executing" and maybe_object(message.get("data")).get("node") is None
