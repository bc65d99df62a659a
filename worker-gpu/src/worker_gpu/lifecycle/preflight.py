"""Before a job does anything: room for it, and a ComfyUI to run it. Goes on while the claim is under way."""

import asyncio
import shutil
from pathlib import Path

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.errors import JobError
from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.lifecycle import resources
from worker_gpu.lifecycle.comfyui import ComfyDidNotStart
from worker_gpu.lifecycle.worker_context import ComfyInfo, WorkerContext
from worker_gpu.lifecycle.worker_health import NEVER_STARTED
from worker_gpu.log import Log
from worker_gpu.redaction import public_text, without_traces

MAX_LOG_LINES = 20
"""Enough for the error and what led to it; the rest is in the worker's log."""


def log_tail(tail: list[str]) -> JsonObject:
    """ComfyUI's last lines as details of an error, fit for a client."""
    lines: list[Json] = [public_text(line, 300) for line in without_traces(tail)[-MAX_LOG_LINES:]]
    return {"comfyui_log": lines}


async def preflight(context: WorkerContext, log: Log) -> ComfyInfo:
    """What ComfyUI says of itself, once it runs and there is room. Raises `JobError` `insufficient_resources`,
    `comfyui_unavailable`."""
    settings, folders = context.settings, context.comfy.folders
    found = resources.measure(settings.data_dir)
    if found.disk_free_bytes < settings.min_free_disk_bytes and folders is not None:
        await _make_room([folders.jobs, settings.data_dir / "spool"], log)
        found = resources.measure(settings.data_dir)
    resources.check(found, settings.min_free_memory_bytes, settings.min_free_disk_bytes)
    try:
        await context.comfy.ensure_running()
        return await context.comfy_info()
    except ComfyUnreachable as error:
        raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from error
    except ComfyDidNotStart as error:
        for line in error.tail:
            log.error("comfyui says", line=line)
        raise JobError("comfyui_unavailable", NEVER_STARTED, details=log_tail(error.tail)) from error


async def _make_room(folders: list[Path], log: Log) -> None:
    """Delete the contents of `folders`: files of earlier jobs that could not be deleted then. No job may run."""
    log.warn("disk is short: deleting what earlier jobs left")
    for folder in folders:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
