"""ComfyUI over HTTP. Every route used exists in 0.3.64; `/api/jobs` is used where a newer version has it."""

import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import IO

import aiohttp

from worker_gpu.comfy.calls import Calls, ComfyUnreachable, read
from worker_gpu.comfy.failure import refused
from worker_gpu.comfy.history_status import (
    Failed,
    HistoryStatus,
    Missing,
    Pending,
    Succeeded,
    Unreadable,
    read_history,
    read_job,
)
from worker_gpu.comfy.input_form import InputForm
from worker_gpu.errors import JobError
from worker_gpu.json_readers import (
    Json,
    JsonObject,
    maybe_list,
    maybe_object,
    maybe_text,
)
from worker_gpu.timeouts import Timeouts

SECOND_NS = 1_000_000_000
_ETAG = re.compile(r'(?:W/)?"([0-9a-f]{1,16})-[0-9a-f]+"')


@dataclass(frozen=True)
class ComfyVersion:
    """Which ComfyUI this is."""

    version: str | None
    gpu: str | None
    has_jobs_api: bool


@dataclass(frozen=True)
class Catalog:
    """The class names ComfyUI knows, which of them are output nodes, and the inputs that each must have. `digest` is
    the contract's `catalog`."""

    classes: tuple[str, ...]
    output_classes: frozenset[str] = frozenset()
    required: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict[str, tuple[str, ...]]())

    @property
    def digest(self) -> str:
        """SHA-256 of the sorted names, newline separated."""
        return hashlib.sha256("\n".join(self.classes).encode("utf-8", "surrogatepass")).hexdigest()

    def facts(self) -> JsonObject:
        """Return the contract's `nodes`: the facts of each class that has any."""
        facts: JsonObject = {}
        for name in self.classes:
            known: JsonObject = {"output": True} if name in self.output_classes else {}
            if required := self.required.get(name):
                known["required"] = list[Json](required)
            if known:
                facts[name] = known
        return facts


@dataclass(frozen=True)
class Prompt:
    """What is posted to ComfyUI."""

    prompt_id: str
    workflow: JsonObject
    previews: bool
    extra: JsonObject = field(default_factory=lambda: JsonObject(), repr=False)
    """More of `extra_data`, such as a key for API nodes."""


@dataclass(frozen=True)
class Viewed:
    """A file that ComfyUI serves. `etag` changes with it; None where ComfyUI gives none. `changed_ns` is when it was
    written at the latest, in nanoseconds since 1970; None where ComfyUI does not say."""

    content: aiohttp.StreamReader
    etag: str | None
    changed_ns: int | None


class ComfyClient:
    """One ComfyUI at `url`, over a session that is kept open."""

    def __init__(self, http: aiohttp.ClientSession, url: str, timeouts: Timeouts) -> None:
        self._calls = Calls(http, url, timeouts)
        self._jobs_api = False

    @property
    def socket_url(self) -> str:
        """Where the socket is, without the client id."""
        return f"{self._calls.url}/ws"

    def use_jobs_api(self, there: bool) -> None:
        """Whether to use `/api/jobs`, as `about` found out."""
        self._jobs_api = there

    async def about(self) -> ComfyVersion:
        """Version, device, and whether the jobs API is there. Raises `ComfyUnreachable`."""
        _, stats = await self._calls.answer("GET", "/system_stats")
        jobs_status, _ = await self._calls.ask("GET", "/api/jobs?limit=1")
        self._jobs_api = jobs_status == 200
        system = maybe_object(maybe_object(stats).get("system"))
        devices = [maybe_object(device) for device in maybe_list(maybe_object(stats).get("devices"))]
        gpus = [maybe_text(device.get("name")) for device in devices if device.get("type") != "cpu"]
        return ComfyVersion(maybe_text(system.get("comfyui_version")), gpus[0] if gpus else None, self._jobs_api)

    async def stats(self) -> JsonObject:
        """ComfyUI's own `/system_stats`: versions, devices, memory. Raises `ComfyUnreachable`."""
        _, stats = await self._calls.answer("GET", "/system_stats")
        return maybe_object(stats)

    async def catalog(self) -> Catalog:
        """All node classes. Raises `ComfyUnreachable`."""
        _, body = await self._calls.answer("GET", "/object_info", limit=self._calls.stall_limit)
        classes = maybe_object(body)
        outputs = (name for name, about in classes.items() if maybe_object(about).get("output_node") is True)
        required = {name: _required(maybe_object(about)) for name, about in classes.items()}
        return Catalog(tuple(sorted(classes)), frozenset(outputs), required)

    async def submit(self, prompt: Prompt, client_id: str) -> JobError | None:
        """Queue a prompt. Gives the refusal where ComfyUI refused a part of it (a 200 with `node_errors`): it runs the
        rest, and drops outputs silently. Raises `JobError` `invalid_workflow`, `model_missing` when it refuses all,
        `ComfyUnreachable`."""
        extra: JsonObject = {**prompt.extra, "preview_method": "auto" if prompt.previews else "none"}
        status, body = await self._calls.ask(
            "POST",
            "/prompt",
            {
                "prompt": prompt.workflow,
                "prompt_id": prompt.prompt_id,
                "client_id": client_id,
                "extra_data": extra,
            },
            limit=self._calls.stall_limit,
        )
        answer = maybe_object(body)
        if status == 200:
            return refused(answer) if answer.get("node_errors") else None
        if 400 <= status < 500:
            raise refused(answer)
        if status == 500:
            # An exception while the graph was read (reference/comfyui.md section 3, and custom nodes' own checks).
            raise JobError("invalid_workflow", "ComfyUI failed while it checked the graph.")
        raise ComfyUnreachable(f"/prompt answered {status}")

    async def history_status(self, prompt_id: str) -> HistoryStatus:
        """What is known of a prompt. Raises `ComfyUnreachable`.

        The queue is read before the history: ComfyUI moves a prompt from one to the other in one step, so one that is
        in neither, in this order, is gone.
        """
        ended = await self._history(prompt_id)
        if isinstance(ended, Succeeded | Failed):
            return ended
        status = await self._unfinished(prompt_id)
        if isinstance(status, Pending):
            return status
        ended = await self._history(prompt_id)
        if ended is None or (isinstance(ended, Unreadable) and not isinstance(status, Missing)):
            return status
        return ended

    async def queued(self, prompt_id: str) -> Pending | Missing:
        """Whether a prompt is in the queue or running. Raises `ComfyUnreachable`."""
        _, body = await self._calls.answer("GET", "/queue")
        queue = maybe_object(body)
        if prompt_id in _ids(queue.get("queue_running")):
            return Pending(running=True)
        return Pending(running=False) if prompt_id in _ids(queue.get("queue_pending")) else Missing()

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue or interrupt it, and no other. Raises `ComfyUnreachable`."""
        if self._jobs_api:
            status, _ = await self._calls.ask("POST", f"/api/jobs/{prompt_id}/cancel", {})
            if status == 200:
                return
        await self._calls.answer("POST", "/queue", {"delete": [prompt_id]})
        # Versions that ignore the id interrupt the running prompt. A ComfyUI of the worker's own runs no other prompt.
        if await self.queued(prompt_id) == Pending(running=True):
            await self._calls.answer("POST", "/interrupt", {"prompt_id": prompt_id})

    async def delete_history(self, prompt_id: str) -> None:
        """Delete a prompt's history. Raises `ComfyUnreachable`."""
        await self._calls.answer("POST", "/history", {"delete": [prompt_id]})

    async def free_memory(self, unload_models: bool) -> None:
        """Drop the results kept of earlier prompts, and unload models if asked to. Raises `ComfyUnreachable`."""
        await self._calls.answer("POST", "/free", {"unload_models": unload_models, "free_memory": True})

    @asynccontextmanager
    async def view(self, filename: str, subfolder: str, folder: str) -> AsyncGenerator[Viewed | None]:
        """Open an output file; None when it does not exist. Raises `ComfyUnreachable`."""
        async with self._view(filename, subfolder, folder, {}) as response:
            found = response.status == 200
            yield (
                Viewed(response.content, response.headers.get("etag"), changed_ns(response.headers)) if found else None
            )

    async def has_changed(self, filename: str, subfolder: str, folder: str, etag: str) -> bool:
        """Whether an output file is there and is another one than that with `etag`. Raises `ComfyUnreachable`."""
        async with self._view(filename, subfolder, folder, {"if-none-match": etag}) as response:
            return response.status == 200

    @asynccontextmanager
    async def _view(
        self, filename: str, subfolder: str, folder: str, headers: dict[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        query = {"filename": filename, "subfolder": subfolder, "type": folder}
        url = f"{self._calls.url}/view"
        try:
            async with self._calls.session.get(
                url, params=query, headers=headers, timeout=self._calls.stall_limit
            ) as response:
                if response.status >= 500:
                    raise ComfyUnreachable(f"/view answered {response.status}")
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            # No other `OSError`: what the caller does with the bytes is inside this too, and its disk may be full.
            raise ComfyUnreachable(f"/view: {type(error).__name__}") from error

    async def upload_input(self, file: IO[bytes], size: int, folder: str, filename: str) -> str:
        """Store a file of `size` bytes in ComfyUI's input folder, below `folder` and its SHA-256; gives the name by
        which a graph calls it. Raises `ComfyUnreachable`, `JobError` `input_fetch_failed` when ComfyUI does not take
        it."""
        form = InputForm(file, size, folder, filename)
        try:
            async with self._calls.session.post(
                f"{self._calls.url}/upload/image",
                data=form.body(),
                headers=form.headers,
                timeout=self._calls.stall_limit,
            ) as response:
                body = await read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ComfyUnreachable(f"/upload/image: {type(error).__name__}") from error
        if response.status != 200:
            raise JobError("input_fetch_failed", f"ComfyUI did not take an input file (status {response.status}).")
        answer = maybe_object(body)
        below, stored = maybe_text(answer.get("subfolder")) or "", maybe_text(answer.get("name")) or filename
        return f"{below}/{stored}" if below else stored

    async def _unfinished(self, prompt_id: str) -> HistoryStatus:
        """What the jobs API, or else the queue, tells of a prompt that the history lacks."""
        if self._jobs_api:
            status, body = await self._calls.ask("GET", f"/api/jobs/{prompt_id}")
            if status < 500:
                return read_job(maybe_object(body)) if status == 200 else Missing()
        return await self.queued(prompt_id)

    async def _history(self, prompt_id: str) -> Succeeded | Failed | Unreadable | None:
        """The end of a prompt; None where the history lacks it. Raises `ComfyUnreachable`."""
        status, body = await self._calls.ask("GET", f"/history/{prompt_id}")
        if status >= 500:
            # An output that is no JSON is enough for that (aiohttp's json_response raises), while all else answers.
            return Unreadable()
        entry = maybe_object(body).get(prompt_id)
        return read_history(entry) if isinstance(entry, dict) else None


def _required(about: JsonObject) -> tuple[str, ...]:
    """The inputs that a class must have. Those that stand for several inputs of other names (`COMFY_AUTOGROW_V3`) are
    left out: a graph does not hold them."""
    inputs = maybe_object(maybe_object(about.get("input")).get("required"))
    return tuple(name for name, spec in inputs.items() if not _is_dynamic(maybe_list(spec)))


def _is_dynamic(spec: list[Json]) -> bool:
    kind = spec[0] if spec else None
    return isinstance(kind, str) and kind.startswith("COMFY_") and kind != "COMFY_MATCHTYPE_V3"


def changed_ns(headers: Mapping[str, str]) -> int | None:
    """When a file served with `headers` was written at the latest. aiohttp, ComfyUI's server, begins a file's ETag with
    its time in nanoseconds; `Last-Modified` is in whole seconds, so the file may be almost a second younger."""
    try:
        second = round(parsedate_to_datetime(headers.get("last-modified", "")).timestamp())
    except (ValueError, OverflowError):
        return None
    tagged = _ETAG.fullmatch(headers.get("etag", ""))
    exact = int(tagged[1], 16) if tagged is not None else 0
    # Whole seconds are rounded up by aiohttp, and down by others.
    return exact if abs(exact - second * SECOND_NS) < SECOND_NS else (second + 1) * SECOND_NS - 1


def _ids(tuples: Json) -> set[str]:
    return {
        entry[1]
        for entry in (maybe_list(item) for item in maybe_list(tuples))
        if len(entry) > 1 and isinstance(entry[1], str)
    }
