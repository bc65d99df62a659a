"""The RunPod SDK's adapter: the only module that knows the SDK. Takes jobs once ComfyUI is ready."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

# The SDK prints inputs and answers at its own default level, DEBUG: graphs and keys belong in no log.
os.environ.setdefault("RUNPOD_DEBUG_LEVEL", "INFO")

import runpod
from runpod.http_client import AsyncClientSession  # pyright: ignore[reportUnknownVariableType] -- untyped
from runpod.serverless.modules.rp_http import send_result  # pyright: ignore[reportUnknownVariableType] -- untyped

from worker_gpu.diagnose.report import debug, health
from worker_gpu.direct.progress import StatusReporter
from worker_gpu.direct.request import is_direct, named_action
from worker_gpu.direct.response import response_limit
from worker_gpu.direct.run import SendProgress, error_response, run_direct
from worker_gpu.direct.stream import stream_job
from worker_gpu.job.job_runner import run_job
from worker_gpu.json_readers import Json, JsonObject, ShapeError, maybe_object, maybe_text, well_formed_object
from worker_gpu.lifecycle.process_guard import end_forks_with_parent
from worker_gpu.lifecycle.ready import Ready
from worker_gpu.lifecycle.worker_context import Deps, WorkerContext, open_worker_context
from worker_gpu.log import Log
from worker_gpu.wire.contract import Receipt, Ticket


class Handler:
    """What the SDK calls with each job. The worker context is opened with the first job, in the SDK's event loop."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self._log = ready.log
        self._open = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()
        self._context: WorkerContext | None = None
        self._opening_early: asyncio.Task[WorkerContext] | None = None

    async def __call__(self, job: "dict[str, Any]", send: SendProgress) -> JsonObject:
        """Do what `job["input"]` asks: the action it names, the graph it holds, or the ticket it is. Gives the answer
        or the receipt. Never raises but for cancellation."""
        # The SDK writes JSON in UTF-8 and loses an answer that has no such form.
        return well_formed_object(await self._answer(job, lambda update: send(well_formed_object(update))))

    async def _answer(self, job: "dict[str, Any]", send: SendProgress) -> JsonObject:
        given: Json = job.get("input")
        action = named_action(given)
        if action is not None:
            return await self._act(action, maybe_object(given))
        if is_direct(given):
            return await run_direct(await self._open_context(), str(job.get("id")), given, send)
        try:
            ticket = Ticket.parse(given, self._ready.settings.gateway_origin)
        except ShapeError as error:
            self._log.error("ticket not understood", cause=str(error))
            named = maybe_text(maybe_object(given).get("job"))
            return Receipt(named, None, "refused", "invalid_ticket").to_wire()
        return (await run_job(await self._open_context(), ticket)).to_wire()

    def open_early(self) -> None:
        """Open the worker context before the first job: start background models, connect the socket to ComfyUI."""
        if self._opening_early is None:
            self._opening_early = asyncio.get_running_loop().create_task(self._open_context())

    async def close(self) -> None:
        """Close the worker context."""
        await self._open.aclose()

    async def _act(self, action: str, asked: JsonObject) -> JsonObject:
        context = await self._open_context()
        match action:
            case "health":
                return await health(context)
            case "debug":
                return await debug(context, os.environ, with_catalog=asked.get("catalog") is True)
            case _:
                return error_response("invalid_request", "action: must be health or debug")

    async def _open_context(self) -> WorkerContext:
        async with self._opening:
            if self._context is None:
                ready = self._ready
                opened = open_worker_context(
                    ready.settings, ready.comfy, ready.timeouts, Deps(), ready.log, ready.known, ready.models
                )
                self._context = await self._open.enter_async_context(opened)
                if ready.models is not None:
                    ready.models.start_background()
            return self._context


def make_handle(handler: Handler, log: Log) -> "Callable[[dict[str, Any]], Awaitable[JsonObject]]":
    """The function that the SDK calls with each job, where progress goes into the job's status."""

    async def handle(job: "dict[str, Any]") -> JsonObject:
        progress = StatusReporter(lambda update: _post(job, update), log)
        try:
            return await handler(job, progress.update)
        finally:
            await progress.close()

    return handle


def serve(ready: Ready) -> None:
    """Take jobs for a ComfyUI that has been started, until it is stopped."""
    # The SDK forks a process that tells RunPod that the worker lives: it must not go on when the worker was killed.
    end_forks_with_parent()
    handler = Handler(ready)

    async def stream(job: "dict[str, Any]") -> AsyncGenerator[JsonObject]:
        limit = response_limit(str(job.get("id")), ready.settings.direct.max_answer_bytes)
        async for chunk in stream_job(lambda send: handler(job, send), limit, time.monotonic):
            yield chunk

    def one_at_a_time(_current: int) -> int:
        # The SDK calls this in its loop before it asks for jobs: the only moment between its start and the first job.
        handler.open_early()
        return 1

    # The SDK asks what kind of function it was given, once: a stream is a choice for the whole worker.
    chosen = stream if ready.settings.direct.stream else make_handle(handler, ready.log)
    runpod.serverless.start(  # pyright: ignore[reportUnknownMemberType] -- untyped
        {"handler": chosen, "return_aggregate_stream": True, "concurrency_modifier": one_at_a_time}
    )


async def _post(job: "dict[str, Any]", update: JsonObject) -> None:
    """One progress message, as the SDK's `progress_update` sends it. Its faults are the SDK's to log."""
    if "RUNPOD_WEBHOOK_POST_OUTPUT" not in os.environ:
        return  # local mode: no URL to post to
    async with AsyncClientSession() as session:  # pyright: ignore[reportUnknownVariableType] -- untyped
        await send_result(session, {"status": "IN_PROGRESS", "output": update}, job)
