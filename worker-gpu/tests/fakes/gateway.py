"""A gateway and its store that hold the worker to docs/reference/worker-contract.md: whatever the contract forbids
is noted in `violations`, which every test checks at its end. Faults are attributes that a test sets."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from aiohttp import WSMsgType, web

from fakes.notification import Notification
from worker_gpu.json_readers import (
    Json,
    JsonObject,
    decode,
    maybe_list,
    maybe_object,
    maybe_text,
    need_count,
    need_object,
    need_text,
)

TOKEN = "token-of-the-attempt"


@dataclass
class Job:
    """What the gateway knows of the one job of a test."""

    id: str
    workflow: dict[str, JsonObject]
    attempt: int = 1
    inputs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    scope: str | None = None
    options: JsonObject = field(default_factory=lambda: {"previews": True, "temp_outputs": False, "metadata": True})
    limits: JsonObject = field(
        default_factory=lambda: {"max_output_bytes": 0, "max_outputs": 0, "max_text_bytes": 1024, "silence_s": 0}
    )
    deadline_s: float = 60.0
    catalog_wanted: bool = False
    prompt_id: str = ""


class FakeGateway:
    """Serves `job`. `faults` maps the last word of a path to statuses given, one each, before it works."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.url = ""
        self.single_put_bytes = 64 * 1024 * 1024
        self.part_bytes = 16 * 1024 * 1024
        self.faults: dict[str, list[int]] = {}
        self.problem = ""
        """Code of the problem that goes with a fault's status."""
        self.lose_after_complete = 0
        """How often `complete` says that the first output is missing."""
        self.drop_channel_at: set[int] = set()
        """Sequence numbers at which the channel is cut before the message is stored."""
        self.refuse_claim: tuple[int, str] | None = None
        self.token = TOKEN
        self.silent_channel = False
        """The channel takes messages and acknowledges none."""
        self.claims: list[JsonObject] = []
        self.messages: list[JsonObject] = []
        self.previews: list[JsonObject] = []
        self.reports: list[JsonObject] = []
        self.catalogs: list[JsonObject] = []
        self.objects: dict[str, bytes] = {}
        self.puts = 0
        self.resent = 0
        self.channels: list[web.WebSocketResponse] = []
        self.pings = 0
        self.violations: list[str] = []
        self.calls: list[str] = []
        self.hold_inputs: asyncio.Event | None = None
        self.hold_catalog: asyncio.Event | None = None
        self.serve_instead: bytes | None = None
        self.notice = Notification()
        self._parts: dict[str, dict[int, bytes]] = {}
        self._asked: dict[str, JsonObject] = {}
        self._claimed_by: str | None = None

    @property
    def types(self) -> list[str]:
        """Types of the stored messages, in order."""
        return [maybe_text(message.get("type")) or "" for message in self.messages]

    @property
    def stages(self) -> list[str]:
        """Stages told, in order."""
        return [maybe_text(m.get("stage")) or "" for m in self.messages if m.get("type") == "stage"]

    @property
    def report(self) -> JsonObject:
        """The report that was stored, the only one."""
        assert len(self.reports) == 1, self.reports
        return self.reports[0]

    @property
    def outputs(self) -> dict[str, JsonObject]:
        """Outputs of the report by name."""
        return {
            maybe_text(output.get("name")) or "": output
            for output in map(maybe_object, maybe_list(self.report.get("outputs")))
        }

    def content(self, name: str) -> bytes:
        """What the store holds for an output of the report."""
        return self.objects[maybe_text(self.outputs[name].get("key")) or ""]

    @property
    def claim_tries(self) -> int:
        """How often the claim was called, faults included."""
        return self.calls.count("claim")

    def forget_claim(self) -> None:
        """As if the job were a new one."""
        self._claimed_by = None

    def ticket(self) -> JsonObject:
        """The ticket for the job."""
        return {"job": self.job.id, "attempt": self.job.attempt, "gateway": self.url, "token": TOKEN}

    async def say(self, message: JsonObject) -> None:
        """Down the newest channel."""
        await self.channels[-1].send_str(json.dumps(message))

    def application(self) -> web.Application:
        """The routes of the gateway and of its store."""
        app = web.Application(middlewares=[self._faulty], client_max_size=2**30)
        jobs = "/worker/jobs/{job}"
        app.add_routes(
            [
                web.post(f"{jobs}/claim", self._claim),
                web.put(f"{jobs}/catalog", self._catalog),
                web.get(f"{jobs}/channel", self._channel),
                web.post(f"{jobs}/uploads", self._uploads),
                web.post(f"{jobs}/uploads/finish", self._finish),
                web.post(f"{jobs}/complete", self._complete),
                web.get("/store/inputs/{name:.+}", self._input),
                web.put("/store/put/{key:.*}", self._put),
                web.put("/store/part/{upload}/{number}", self._part),
            ]
        )
        return app

    @web.middleware
    async def _faulty(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        parts = request.path.split("/")
        word = parts[2] if parts[1] == "store" else parts[-1]
        if parts[1] == "worker":
            if request.headers.get("authorization") != f"Bearer {self.token}":
                return _problem(401, "invalid_token")
            if request.match_info.get("job") != self.job.id:
                return _problem(404, "job_not_found")
        self.calls.append(word)
        if self.faults.get(word):
            status = self.faults[word].pop(0)
            if status == 0:
                assert request.transport is not None
                request.transport.abort()
            return _problem(status, self.problem)
        answer = await handler(request)
        await self.notice.tell()
        return answer

    async def _body(self, request: web.Request) -> JsonObject:
        body = need_object(decode(await request.read()), "body")
        self._must(body.get("attempt") == self.job.attempt, "the attempt is in every body")
        if self._claimed_by is not None:
            self._must(body.get("claim") == self._claimed_by, "the claim is in every body")
        return body

    def _must(self, holds: bool, rule: str) -> None:
        if not holds:
            self.violations.append(rule)

    async def _claim(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        self.claims.append(body)
        if self.refuse_claim is not None:
            return _problem(*self.refuse_claim)
        claim = need_text(body, "claim")
        if self._claimed_by not in (None, claim):
            return _problem(409, "claimed_elsewhere")
        self._claimed_by = claim
        now = datetime.now(UTC)
        inputs: list[Json] = [
            {
                "name": name,
                "url": f"{self.url}/store/inputs/{quote(name)}?sig=secret",
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_bytes": len(content),
                "content_type": "image/png",
            }
            for name, content in self.job.inputs.items()
        ]
        return web.json_response(
            {
                "job": self.job.id,
                "attempt": self.job.attempt,
                "prompt_id": self.job.prompt_id or self.job.id,
                "workflow": self.job.workflow,
                "inputs": inputs,
                "options": self.job.options,
                "limits": self.job.limits,
                "deadline": _iso(now + timedelta(seconds=self.job.deadline_s)),
                "server_time": _iso(now),
                "catalog_wanted": self.job.catalog_wanted,
                "unknown": {"is": "ignored"},
                **({"scope": self.job.scope} if self.job.scope is not None else {}),
            }
        )

    async def _catalog(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if self.hold_catalog is not None:
            await self.notice.tell()
            await self.hold_catalog.wait()
        self._must(not self.reports, "the catalogue comes before the report")
        self.catalogs.append({name: value for name, value in body.items() if name not in ("attempt", "claim")})
        return web.Response(status=204)

    async def _channel(self, request: web.Request) -> web.StreamResponse:
        self._must(request.query.get("attempt") == str(self.job.attempt), "the channel names the attempt")
        self._must(request.query.get("claim") == self._claimed_by, "the channel names the claim")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.channels.append(socket)
        await socket.send_str(json.dumps({"ack": len(self.messages)}))
        await self.notice.tell()
        async for frame in socket:
            if frame.type is WSMsgType.TEXT and not await self._take(request, socket, frame.data):
                break
        return socket

    async def _take(self, request: web.Request, socket: web.WebSocketResponse, text: str) -> bool:
        if text == "ping":
            self.pings += 1
            await socket.send_str("pong")
            await self.notice.tell()
            return True
        message = need_object(decode(text), "message")
        if message.get("type") == "preview":
            self._must("seq" not in message, "previews carry no seq")
            self._must(len(need_text(message, "data_base64")) <= 64 * 1024, "previews are small")
            self.previews.append(message)
            await self.notice.tell()
            return True
        seq = need_count(message, "seq", 1)
        self._must(seq <= len(self.messages) + 1, "seq has no gaps")
        if seq in self.drop_channel_at:
            self.drop_channel_at.discard(seq)
            assert request.transport is not None
            request.transport.abort()
            return False
        if seq == len(self.messages) + 1:
            self._check_message(message)
            self.messages.append(message)
        else:
            self.resent += 1
        # As the gateway does: progress is acknowledged with the first that comes and then with what follows it.
        stored = message.get("type") != "progress" or seq == 1
        if stored and not self.silent_channel:
            await socket.send_str(json.dumps({"ack": len(self.messages)}))
        await self.notice.tell()
        return True

    def _check_message(self, message: JsonObject) -> None:
        kind = message.get("type")
        self._must(kind in ("stage", "progress", "output", "log", "sync"), f"unknown message {kind}")
        if kind == "progress":
            before = [m for m in self.messages if m.get("type") == "progress"]
            value = message.get("value")
            self._must(isinstance(value, int | float) and 0 <= value <= 1, "progress is from 0 to 1")
            last = before[-1].get("value") if before else 0
            self._must(
                isinstance(value, int | float) and isinstance(last, int | float) and value >= last,
                "progress never falls",
            )
        if kind == "output":
            self._must_be_stored(maybe_object(message.get("output")))

    def _must_be_stored(self, output: JsonObject) -> None:
        key, text = output.get("key"), output.get("text")
        if isinstance(key, str):
            content = self.objects.get(key)
            self._must(content is not None, "an output is reported once it is stored")
        else:
            content = text.encode() if isinstance(text, str) else None
            self._must(content is not None, "an output without key has text")
        if content is not None:
            self._must(output.get("size_bytes") == len(content), "the size is right")
            self._must(output.get("sha256") == hashlib.sha256(content).hexdigest(), "the hash is right")

    async def _uploads(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        uploads: list[Json] = []
        for file in map(maybe_object, maybe_list(body.get("files"))):
            name, size = need_text(file, "name"), need_count(file, "size_bytes")
            self._must(
                not name.startswith("/") and ".." not in name.split("/") and len(name.encode()) <= 255,
                "names are safe",
            )
            key = f"out/{self.job.id}/{self.job.attempt}/{name}"
            self._asked[key] = file
            if size <= self.single_put_bytes:
                headers: JsonObject = {"content-type": need_text(file, "content_type")}
                url = f"{self.url}/store/put/{key}?sig=secret"
                uploads.append({"name": name, "key": key, "method": "PUT", "url": url, "headers": headers})
                continue
            upload = hashlib.sha256(f"{key} {len(self._parts)}".encode()).hexdigest()[:12]
            self._parts[upload] = {}
            parts: list[Json] = [
                {"number": number, "url": f"{self.url}/store/part/{upload}/{number}?sig=secret"}
                for number in range(1, -(-size // self.part_bytes) + 1)
            ]
            uploads.append(
                {
                    "name": name,
                    "key": key,
                    "method": "MULTIPART",
                    "upload_id": upload,
                    "part_bytes": self.part_bytes,
                    "parts": parts,
                }
            )
        return web.json_response({"uploads": uploads})

    async def _finish(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        held = self._parts[need_text(body, "upload_id")]
        reported = {
            need_count(part, "number"): need_text(part, "etag")
            for part in map(maybe_object, maybe_list(body.get("parts")))
        }
        self._must({number: _etag(content) for number, content in held.items()} == reported, "parts and etags agree")
        self.objects[need_text(body, "key")] = b"".join(held[number] for number in sorted(held))
        return web.Response(status=204)

    async def _complete(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        if self.lose_after_complete > 0:
            self.lose_after_complete -= 1
            lost = maybe_object(maybe_list(body.get("outputs"))[0])
            self.objects.pop(maybe_text(lost.get("key")) or "", None)
            missing: JsonObject = {"code": "output_missing", "missing": [lost.get("name")]}
            return web.json_response(missing, status=409)
        for output in map(maybe_object, maybe_list(body.get("outputs"))):
            self._must_be_stored(output)
        self._must((body.get("outcome") == "failed") == (body.get("error") is not None), "a failure has an error")
        if not self.silent_channel:
            self._must(body.get("last_seq") == len(self.messages), "complete comes after its last message")
        self.reports.append(body)
        return web.json_response({"status": body.get("outcome")})

    async def _input(self, request: web.Request) -> web.Response:
        if self.hold_inputs is not None:
            await self.hold_inputs.wait()
        content = self.job.inputs[request.match_info["name"]]
        return web.Response(body=self.serve_instead if self.serve_instead is not None else content)

    async def _put(self, request: web.Request) -> web.Response:
        key, content = request.match_info["key"], await request.read()
        asked = self._asked.get(key, {})
        self._must(request.headers.get("content-type") == asked.get("content_type"), "headers are sent exactly")
        self._must("authorization" not in request.headers, "the token does not go to the store")
        self._must(request.headers.get("content-length") == str(len(content)), "R2 wants the length")
        self.puts += 1
        self.objects[key] = content
        return web.Response(headers={"etag": _etag(content)})

    async def _part(self, request: web.Request) -> web.Response:
        content = await request.read()
        self.puts += 1
        self._parts[request.match_info["upload"]][int(request.match_info["number"])] = content
        return web.Response(headers={"etag": _etag(content)})


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _problem(status: int, code: str) -> web.Response:
    return web.json_response({"code": code, "status": status}, status=status, content_type="application/problem+json")
