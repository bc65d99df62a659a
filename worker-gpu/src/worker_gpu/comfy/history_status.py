"""What ComfyUI says over HTTP of a prompt. It decides the end of a prompt whose messages may be incomplete."""

from dataclasses import dataclass
from typing import TypeAlias

from worker_gpu.comfy.failure import from_history
from worker_gpu.comfy.messages import REPORT, WrittenFile, written_files
from worker_gpu.errors import JobError
from worker_gpu.json_readers import Json, JsonObject, maybe_list, maybe_object, maybe_text


@dataclass(frozen=True)
class Pending:
    """In the queue or running."""

    running: bool


@dataclass(frozen=True)
class Missing:
    """Neither in the queue nor in the history."""


@dataclass(frozen=True)
class Unreadable:
    """No longer in the queue, and ComfyUI fails to tell its history."""


@dataclass(frozen=True)
class Succeeded:
    """Done. `outputs` is what each output node listed; `shown_as` maps a node to the one it stands for. `written` are
    files, as the worker's package inside ComfyUI tells them; `began_ms` is when the run began, by ComfyUI's clock, in
    milliseconds since 1970."""

    outputs: dict[str, JsonObject]
    shown_as: dict[str, str]
    written: tuple[WrittenFile, ...] = ()
    began_ms: int | None = None


@dataclass(frozen=True)
class Failed:
    """Ended without success, by itself or by an interrupt."""

    error: JobError
    interrupted: bool


HistoryStatus: TypeAlias = Pending | Missing | Unreadable | Succeeded | Failed


def read_history(entry: JsonObject) -> Succeeded | Failed:
    """The end that an entry of `/history` tells of. An entry without a status (old versions) is a success."""
    status = maybe_object(entry.get("status"))
    messages = _messages(maybe_list(status.get("messages")))
    if maybe_text(status.get("status_str")) == "error":
        error, interrupted = from_history(messages)
        return Failed(error, interrupted)
    outputs = {node: maybe_object(output) for node, output in maybe_object(entry.get("outputs")).items()}
    shown = {
        node: maybe_text(maybe_object(meta).get("display_node")) or node
        for node, meta in maybe_object(entry.get("meta")).items()
    }
    written = written_files(maybe_object(entry.get(REPORT)))
    return Succeeded(outputs, shown, written, _stamp_of("execution_start", messages))


def read_job(job: JsonObject) -> HistoryStatus:
    """What `/api/jobs/{id}` (newer versions) tells, for a prompt that the history lacks."""
    status = maybe_text(job.get("status"))
    if status in ("pending", "in_progress"):
        return Pending(running=status == "in_progress")
    if status == "completed":
        outputs = {node: maybe_object(output) for node, output in maybe_object(job.get("outputs")).items()}
        return Succeeded(outputs, {})
    if status == "cancelled":
        error, _ = from_history([("execution_interrupted", {})])
        return Failed(error, interrupted=True)
    if status == "failed":
        error, interrupted = from_history([("execution_error", maybe_object(job.get("execution_error")))])
        return Failed(error, interrupted)
    return Missing()


def _messages(listed: list[Json]) -> list[tuple[str, JsonObject]]:
    pairs = [pair for pair in (maybe_list(item) for item in listed) if len(pair) == 2]
    return [(name, maybe_object(data)) for name, data in pairs if isinstance(name, str)]


def _stamp_of(event: str, messages: list[tuple[str, JsonObject]]) -> int | None:
    stamps = [data.get("timestamp") for name, data in messages if name == event]
    return next((stamp for stamp in stamps if isinstance(stamp, int)), None)
