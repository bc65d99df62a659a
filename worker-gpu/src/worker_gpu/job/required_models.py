"""Brings the models that a graph names to disk before it is posted, and keeps them there until it has ended."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from worker_gpu.errors import Code, JobError
from worker_gpu.json_readers import JsonObject
from worker_gpu.models.errors import ModelCode, ModelError
from worker_gpu.models.service import Models
from worker_gpu.models.sync import Progress
from worker_gpu.wire.contract import Timings

SHOWN_PARTS = 20
"""Messages of one fetch: each is a numbered message of the job's log, so each twentieth is reported once."""
MB = 1_000_000

_CODES: dict[ModelCode, Code] = {
    "disk_full": "insufficient_resources",
    "disk_failed": "insufficient_resources",
    "folder_busy": "insufficient_resources",
    "store_unreachable": "input_fetch_failed",
    "store_denied": "input_fetch_failed",
    "model_replaced": "input_fetch_failed",
}
"""The job's error code for each model error; `model_missing` for all others."""


@asynccontextmanager
async def models_for(
    models: Models | None,
    workflow: Mapping[str, JsonObject],
    report: Callable[[str], None],
    timings: Timings,
    now: Callable[[], float],
) -> AsyncGenerator[None]:
    """Every model that `workflow` names and the manifest has is here inside the body. `report` gets a line for people
    as a fetch proceeds. Raises `JobError`."""
    if models is None:
        yield
        return
    began, shown = now(), -1

    def show(progress: Progress) -> None:
        nonlocal shown
        part = progress.done_bytes * SHOWN_PARTS // max(1, progress.total_bytes)
        if progress.total_bytes and part > shown:
            shown = part
            report(
                f"{progress.done_bytes // MB} of {progress.total_bytes // MB} MB, "
                f"{progress.done_files} of {progress.total_files} files"
            )

    inside = False
    try:
        async with models.needed_by(workflow, show):
            timings.models_ms = round((now() - began) * 1000)
            inside = True
            yield
    except ModelError as error:
        if inside:
            raise
        raise job_error(error) from error


def job_error(error: ModelError) -> JobError:
    """A model's fault in the contract's words."""
    details: JsonObject = {"model_error": error.code}
    if error.path is not None:
        details["model"] = error.path
    if error.page is not None:
        # The message is for clients, so it has lost its addresses.
        details["get_it_at"] = error.page
    return JobError(_CODES.get(error.code, "model_missing"), error.message, details=details)
