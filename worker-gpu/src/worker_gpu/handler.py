"""The RunPod SDK's adapter: the only module that knows the SDK. Takes jobs once ComfyUI is ready."""

import asyncio
import contextlib
import os
from typing import Any

import runpod

from worker_gpu.boot import Comfy
from worker_gpu.contract import Receipt, Ticket
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.runner import run_job
from worker_gpu.settings import Settings
from worker_gpu.shape import Json, JsonObject, ShapeError, maybe_object, maybe_text
from worker_gpu.tether import die_with_parent
from worker_gpu.workplace import Known, Tools, Workplace, open_workplace


class Handler:
    """What the SDK calls with each job. The workplace is opened with the first, in the SDK's own event loop."""

    def __init__(self, settings: Settings, comfy: Comfy, patience: Patience, log: Log, known: Known | None) -> None:
        self._settings = settings
        self._comfy = comfy
        self._patience = patience
        self._log = log
        self._known = known
        self._open = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()
        self._place: Workplace | None = None

    async def __call__(self, job: "dict[str, Any]") -> JsonObject:
        """Run the job whose ticket is `job["input"]`; gives the receipt. Never raises but for cancellation."""
        given: Json = job.get("input")
        try:
            ticket = Ticket.parse(given, self._settings.gateway_origin)
        except ShapeError as error:
            self._log.error("ticket not understood", cause=str(error))
            named = maybe_text(maybe_object(given).get("job"))
            return Receipt(named, None, "refused", "invalid_ticket").to_wire()
        place = await self._workplace()
        return (await run_job(place, ticket)).to_wire()

    async def close(self) -> None:
        """Leave the workplace."""
        await self._open.aclose()

    async def _workplace(self) -> Workplace:
        async with self._opening:
            if self._place is None:
                opened = open_workplace(self._settings, self._comfy, self._patience, Tools(), self._log, self._known)
                self._place = await self._open.enter_async_context(opened)
            return self._place


def serve(settings: Settings, comfy: Comfy, known: Known | None, patience: Patience, log: Log) -> None:
    """Take jobs for a ComfyUI that has been started, until told to stop."""
    # The SDK forks a process that tells RunPod that the worker lives: it must not go on when the worker was killed.
    os.register_at_fork(after_in_child=die_with_parent)
    handler = Handler(settings, comfy, patience, log, known)

    async def handle(job: "dict[str, Any]") -> JsonObject:
        return await handler(job)

    runpod.serverless.start({"handler": handle})  # pyright: ignore[reportUnknownMemberType] -- untyped
