"""After a job, with a gateway or without: a ComfyUI that runs, and nothing of the job left on the worker."""

import asyncio
import contextlib
import traceback
from dataclasses import dataclass
from typing import Any

from worker_gpu.errors import JobError
from worker_gpu.job.folders import JobFolders
from worker_gpu.job.spool import Spool
from worker_gpu.lifecycle.comfyui import ComfyDidNotStart
from worker_gpu.lifecycle.remove_files import delete_files, delete_history
from worker_gpu.lifecycle.worker_context import WorkerContext
from worker_gpu.lifecycle.worker_health import requires_replacement
from worker_gpu.log import Log


@dataclass(frozen=True)
class JobArtifacts:
    """What a job left. `prompt_id` is None where ComfyUI never heard of it; `folders` is None in a ComfyUI of somebody
    else's."""

    prompt_id: str | None
    spool: Spool
    folders: JobFolders | None


def is_comfy_lost(error: JobError | None) -> bool:
    """Whether the job failed because ComfyUI died, hung or did not start."""
    return error is not None and error.comfy_lost


def release_after(task: "asyncio.Task[Any] | None", context: WorkerContext) -> None:
    """Let the next job begin once `task` is over: at once, where it is or never was."""
    if task is None or task.done():
        context.turn.release()
        return

    def release(over: "asyncio.Task[Any]") -> None:
        context.cleanup_tasks.discard(over)
        context.turn.release()

    context.cleanup_tasks.add(task)
    task.add_done_callback(release)


async def leave(context: WorkerContext, left: JobArtifacts, error: JobError | None, log: Log) -> None:
    """Leave the workplace as it was found, after a job that ended with `error`. Never raises but for cancellation: what
    cannot be done is logged, and the job's answer stands."""
    try:
        await _leave(context, left, error, log)
    except asyncio.CancelledError:
        # The worker ends, and nobody waits: files still go.
        left.spool.remove()
        if left.folders is not None:
            with contextlib.suppress(OSError):
                left.folders.remove()
        raise
    except Exception as bug:
        log.error("bug in the worker", trace="".join(traceback.format_exception(bug))[-4000:])


async def _leave(context: WorkerContext, left: JobArtifacts, error: JobError | None, log: Log) -> None:
    if is_comfy_lost(error) and not await context.comfy.kill() and left.prompt_id is not None:
        # Somebody else's: at least the prompt goes, if ComfyUI comes to itself in time.
        await context.executor.stop(left.prompt_id)
    # Files first: a start takes up to a minute, in which RunPod may end the worker.
    await delete_files(left.spool, left.folders, log)
    if is_comfy_lost(error) and requires_replacement(error):
        return  # it has just been tried, and RunPod replaces the worker; a job that comes all the same tries again
    try:
        # One that died, or was killed to stop the job, starts now that its end is told, not with the next job.
        if not await context.comfy.ensure_running():
            out_of_memory = error is not None and error.code == "out_of_memory"
            await delete_history(context.client, left.prompt_id, out_of_memory, log)
    except ComfyDidNotStart as failure:
        log.error("comfyui did not restart", cause=str(failure))
