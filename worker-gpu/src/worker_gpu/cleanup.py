"""After a job: nothing of it stays on the worker."""

import asyncio
import shutil
from pathlib import Path

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.inputs import Store
from worker_gpu.log import Log


async def forget(client: ComfyClient, prompt_id: str | None, free_memory: bool, log: Log) -> None:
    """Delete the history of `prompt_id`; drop models and caches if `free_memory`. What cannot be done is logged."""
    try:
        if prompt_id is not None:
            await client.forget(prompt_id)
        if free_memory:
            await client.free_memory(unload_models=True)
    except ComfyUnreachable as error:
        log.warn("history not deleted", cause=str(error))


async def delete_files(folders: list[Path], store: Store, stored_inputs: list[str], log: Log) -> None:
    """Delete `folders` and the stored inputs. What cannot be done is logged and left."""
    for folder in folders:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    try:
        await store.remove(stored_inputs)
    except OSError as error:
        log.warn("files not deleted", cause=type(error).__name__)


async def make_room(client: ComfyClient, folders: list[Path], log: Log) -> None:
    """Delete what earlier jobs left in `folders` of a ComfyUI of ours: temporary pictures, files saved outside a job's
    folder. ComfyUI forgets its results too, since they name those files. Call it while no job runs."""
    log.warn("disk is short: deleting what earlier jobs left")
    try:
        await client.free_memory(unload_models=False)
    except ComfyUnreachable as error:
        log.warn("results not dropped", cause=str(error))
        return
    for folder in folders:
        await asyncio.to_thread(_empty, folder)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
