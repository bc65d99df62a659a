"""Before a job does anything: room for it, and a ComfyUI to run it. Goes on while the claim is under way."""

from worker_gpu import resources
from worker_gpu.boot import ComfyDidNotStart
from worker_gpu.cleanup import make_room
from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.errors import JobError
from worker_gpu.fault import NEVER_STARTED
from worker_gpu.log import Log
from worker_gpu.public import public_text, without_traces
from worker_gpu.shape import Json, JsonObject
from worker_gpu.workplace import Known, Workplace

MAX_LAST_LINES = 20
"""Enough for the error and what led to it; the rest is in the worker's log."""


def last_words(tail: list[str]) -> JsonObject:
    """ComfyUI's last lines as details of an error, fit for a client."""
    lines: list[Json] = [public_text(line, 300) for line in without_traces(tail)[-MAX_LAST_LINES:]]
    return {"comfyui_log": lines}


async def preflight(place: Workplace, log: Log) -> Known:
    """What ComfyUI says of itself, once it runs and there is room. Raises `JobError` `insufficient_resources`,
    `comfyui_unavailable`."""
    settings, folders = place.settings, place.comfy.folders
    found = resources.measure(settings.data_dir)
    if found.disk_free_bytes < settings.min_free_disk_bytes and folders is not None:
        await make_room([folders.jobs, settings.data_dir / "spool"], log)
        found = resources.measure(settings.data_dir)
    resources.check(found, settings.min_free_memory_bytes, settings.min_free_disk_bytes)
    try:
        await place.comfy.ensure_running()
        return await place.know()
    except ComfyUnreachable as error:
        raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from error
    except ComfyDidNotStart as error:
        for line in error.tail:
            log.error("comfyui says", line=line)
        raise JobError("comfyui_unavailable", NEVER_STARTED, details=last_words(error.tail)) from error
