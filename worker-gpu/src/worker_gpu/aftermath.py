"""After a job, with a gateway or without: a ComfyUI that runs, and nothing of the job left on the worker."""

from dataclasses import dataclass
from pathlib import Path

from worker_gpu.boot import ComfyDidNotStart
from worker_gpu.cleanup import clean_up
from worker_gpu.errors import JobError
from worker_gpu.inputs import Store
from worker_gpu.log import Log
from worker_gpu.workplace import Workplace


@dataclass(frozen=True)
class Leftovers:
    """What a job left. `prompt_id` is None where ComfyUI never heard of it."""

    prompt_id: str | None
    folders: tuple[Path, ...]
    store: Store
    inputs: tuple[str, ...]


def is_comfy_lost(error: JobError | None) -> bool:
    """Whether the job failed because ComfyUI died, hung or did not start."""
    return error is not None and error.code == "comfyui_unavailable"


async def leave(place: Workplace, left: Leftovers, error: JobError | None, log: Log) -> None:
    """Leave the workplace as it was found, after a job that ended with `error`. What cannot be done is logged."""
    try:
        if not is_comfy_lost(error):
            # One that had to be killed to stop the job starts now that its end is told, not with the next job.
            await place.comfy.ensure_running()
        elif not await place.comfy.restart() and left.prompt_id is not None:
            # Somebody else's: at least the prompt goes, if ComfyUI comes to itself in time.
            await place.executor.stop(left.prompt_id)
    except ComfyDidNotStart as failure:
        log.error("comfyui did not restart", cause=str(failure))
    out_of_memory = error is not None and error.code == "out_of_memory"
    await clean_up(place.client, left.prompt_id, list(left.folders), left.store, list(left.inputs), out_of_memory, log)
