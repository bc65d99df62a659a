"""After each job: delete its files and its history, and have a ComfyUI that runs.

The cleanup runs after the answer. `release_after` keeps the next job waiting until it has ended.
"""

import asyncio
import contextlib
import traceback
from dataclasses import dataclass
from typing import Any

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.errors import JobError
from worker_gpu.job.folders import JobFolders
from worker_gpu.job.spool import Spool
from worker_gpu.lifecycle.comfyui import ComfyDidNotStart
from worker_gpu.lifecycle.worker_context import WorkerContext
from worker_gpu.lifecycle.worker_health import requires_replacement
from worker_gpu.log import Log


@dataclass(frozen=True)
class JobArtifacts:
    """What a job left. `prompt_id` is None if ComfyUI never got the prompt; `folders` is None with a ComfyUI that the
    worker did not start."""

    prompt_id: str | None
    spool: Spool
    folders: JobFolders | None


def is_comfy_lost(error: JobError | None) -> bool:
    """Whether the job failed because ComfyUI died, hung or did not start."""
    return error is not None and error.comfy_lost


def release_after(task: "asyncio.Task[Any] | None", context: WorkerContext) -> None:
    """Release the job lock once `task` is done; at once without one."""
    if task is None or task.done():
        context.job_lock.release()
        return

    def release(over: "asyncio.Task[Any]") -> None:
        context.cleanup_tasks.discard(over)
        context.job_lock.release()

    context.cleanup_tasks.add(task)
    task.add_done_callback(release)


async def cleanup_job(context: WorkerContext, left: JobArtifacts, error: JobError | None, log: Log) -> None:
    """Clean up after a job that ended with `error`. Raises only `CancelledError`: what fails is logged, and the job's
    answer stays as it is."""
    try:
        await _cleanup(context, left, error, log)
    except asyncio.CancelledError:
        # The worker is stopping: delete the files without waiting.
        left.spool.remove()
        if left.folders is not None:
            with contextlib.suppress(OSError):
                left.folders.remove()
        raise
    except Exception as bug:
        log.error("bug in the worker", trace="".join(traceback.format_exception(bug))[-4000:])


async def _cleanup(context: WorkerContext, left: JobArtifacts, error: JobError | None, log: Log) -> None:
    if is_comfy_lost(error) and not await context.comfy.kill() and left.prompt_id is not None:
        # Not a child of the worker: at least remove the prompt, if ComfyUI answers in time.
        await context.executor.stop(left.prompt_id)
    # Files first: a start takes up to a minute, in which RunPod may end the worker.
    await _delete_files(left.spool, left.folders, log)
    if is_comfy_lost(error) and requires_replacement(error):
        return  # it was just tried, and RunPod replaces the worker; the next job, if one comes, tries again
    try:
        # A ComfyUI that died or was killed starts now, and not only with the next job.
        if not await context.comfy.ensure_running():
            out_of_memory = error is not None and error.code == "out_of_memory"
            await _delete_history(context.client, left.prompt_id, out_of_memory, log)
    except ComfyDidNotStart as failure:
        log.error("comfyui did not restart", cause=str(failure))


async def _delete_history(client: ComfyClient, prompt_id: str | None, free_memory: bool, log: Log) -> None:
    """Delete the history of `prompt_id`; unload models and drop caches if `free_memory`. A failure is logged."""
    try:
        if prompt_id is not None:
            await client.delete_history(prompt_id)
        if free_memory:
            await client.free_memory(unload_models=True)
    except ComfyUnreachable as error:
        log.warn("history not deleted", cause=str(error))


async def _delete_files(spool: Spool, folders: JobFolders | None, log: Log) -> None:
    """Delete a job's `spool`, and make its folders in ComfyUI ready for the next job. A failure is logged: the next job
    prepares its folders again."""
    try:
        await asyncio.to_thread(spool.remove)
        if folders is not None:
            await asyncio.to_thread(folders.make_ready)
    except OSError as error:
        log.warn("files not deleted", cause=type(error).__name__)
