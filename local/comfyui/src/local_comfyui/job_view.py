"""A prompt as the jobs routes of newer ComfyUI versions describe it."""

from collections.abc import Iterator
from typing import Literal

from local_comfyui.json_types import Json, JsonObject, as_object
from local_comfyui.prompt_queue import Ended, Queued

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")

PREVIEWABLE = frozenset({"images", "video", "audio", "3d", "text"})
TEXT_PREVIEW_LENGTH = 1024
"""Characters of a text output shown as a job's preview."""


def queued_job(item: Queued, status: Literal["pending", "in_progress"], *, whole: bool = False) -> JsonObject:
    """A prompt that has not ended; `whole` adds its graph."""
    job = _pruned(
        {
            "id": item.prompt_id,
            "status": status,
            "priority": item.number,
            "create_time": item.created_ms,
            "outputs_count": 0,
            "previewable_outputs_count": 0,
            "workflow_id": _workflow_id(item),
        }
    )
    return {**job, "workflow": _workflow(item)} if whole else job


def ended_job(ended: Ended, *, whole: bool = False) -> JsonObject:
    """A prompt of the history; `whole` adds outputs, status and graph."""
    item, entry = ended.item, ended.entry
    status = as_object(entry["status"])
    messages = _messages(status)
    ends = [data for name, data in messages.items() if name not in ("execution_start", "execution_cached")]
    outputs = as_object(entry["outputs"])
    files = list(_files(outputs))
    interrupted = "execution_interrupted" in messages
    job = _pruned(
        {
            "id": item.prompt_id,
            "status": "completed" if status["status_str"] == "success" else "cancelled" if interrupted else "failed",
            "priority": item.number,
            "create_time": item.created_ms,
            "execution_start_time": messages.get("execution_start", {}).get("timestamp"),
            "execution_end_time": ends[0].get("timestamp") if ends else None,
            "execution_error": messages.get("execution_error"),
            "outputs_count": len(files),
            "previewable_outputs_count": sum(file["mediaType"] in PREVIEWABLE for file in files),
            "preview_output": _preview(files, outputs),
            "workflow_id": _workflow_id(item),
        }
    )
    if not whole:
        return job
    return {**job, "outputs": outputs, "execution_status": status, "workflow": _workflow(item)}


def sort_jobs(jobs: list[JsonObject], *, by_duration: bool, newest_first: bool) -> list[JsonObject]:
    """By creation, or by how long they ran."""

    def key(job: JsonObject) -> float:
        if not by_duration:
            return _number(job.get("create_time"))
        return _number(job.get("execution_end_time")) - _number(job.get("execution_start_time"))

    return sorted(jobs, key=key, reverse=newest_first)


def _number(value: Json) -> float:
    return value if isinstance(value, int | float) else 0


def _pruned(job: JsonObject) -> JsonObject:
    return {key: value for key, value in job.items() if value is not None}


def _messages(status: JsonObject) -> dict[str, JsonObject]:
    messages = status["messages"]
    found: dict[str, JsonObject] = {}
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, list) and isinstance(message[0], str):
            found[message[0]] = as_object(message[1])
    return found


def _workflow(item: Queued) -> JsonObject:
    return {"prompt": item.prompt, "extra_data": item.extra_data}


def _workflow_id(item: Queued) -> Json:
    return as_object(as_object(item.extra_data.get("extra_pnginfo")).get("workflow")).get("id")


def _files(outputs: JsonObject) -> Iterator[JsonObject]:
    for node_id, report in outputs.items():
        for media, items in as_object(report).items():
            for item in items if isinstance(items, list) else []:
                if isinstance(item, dict):
                    yield {**item, "nodeId": node_id, "mediaType": media}


def _preview(files: list[JsonObject], outputs: JsonObject) -> Json:
    """A saved file, else a temporary one, else a text."""
    shown = [file for file in files if file["mediaType"] in PREVIEWABLE]
    for file in shown:
        if file.get("type") == "output":
            return file
    if shown:
        return shown[0]
    for node_id, report in outputs.items():
        texts = as_object(report).get("text")
        if isinstance(texts, list) and texts:
            text = str(texts[0])
            preview: JsonObject = {"content": text[:TEXT_PREVIEW_LENGTH], "nodeId": node_id, "mediaType": "text"}
            return {**preview, "truncated": True} if len(text) > TEXT_PREVIEW_LENGTH else preview
    return None
