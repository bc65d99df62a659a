"""After a job: nothing of it stays on the worker."""

import asyncio
import shutil
from pathlib import Path

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.job.folders import JobFolders
from worker_gpu.job.spool import Spool
from worker_gpu.log import Log


async def delete_history(client: ComfyClient, prompt_id: str | None, free_memory: bool, log: Log) -> None:
    """Delete the history of `prompt_id`; drop models and caches if `free_memory`. What cannot be done is logged."""
    try:
        if prompt_id is not None:
            await client.delete_history(prompt_id)
        if free_memory:
            await client.free_memory(unload_models=True)
    except ComfyUnreachable as error:
        log.warn("history not deleted", cause=str(error))


async def delete_files(spool: Spool, folders: JobFolders | None, log: Log) -> None:
    """Delete a job's `spool` and all in its folders in ComfyUI, which are left ready for the next job. What cannot be
    done is logged and left: no job begins in folders that are not empty."""
    try:
        await asyncio.to_thread(spool.remove)
        if folders is not None:
            await asyncio.to_thread(folders.make_ready)
    except OSError as error:
        log.warn("files not deleted", cause=type(error).__name__)


async def make_room(folders: list[Path], log: Log) -> None:
    """Delete what is in `folders`: what earlier jobs left that could not be deleted then. Call it while no job runs."""
    log.warn("disk is short: deleting what earlier jobs left")
    for folder in folders:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
