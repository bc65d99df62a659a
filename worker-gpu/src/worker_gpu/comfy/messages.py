"""ComfyUI's JSON socket messages, as far as the worker uses them. Everything else becomes None and is dropped."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from worker_gpu.json_readers import (
    Json,
    JsonObject,
    ShapeError,
    decode,
    maybe_list,
    maybe_number,
    maybe_object,
    maybe_text,
)

NodePhase = Literal["pending", "running", "finished", "cached", "error"]


@dataclass(frozen=True)
class Started:
    """`execution_start`. `at_ms` is when, by ComfyUI's clock, in milliseconds since 1970."""

    prompt_id: str
    at_ms: int | None = None


@dataclass(frozen=True)
class Cached:
    """`execution_cached`: these nodes need not run."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Executing:
    """`executing`: this node runs now; `node` None means the prompt has ended and its history is written.

    The prompt id is missing in the one that is sent again on reconnect.
    """

    prompt_id: str | None
    node: str | None
    display_node: str | None


@dataclass(frozen=True)
class Step:
    """`progress`: the older message for the node that runs."""

    prompt_id: str | None
    node: str | None
    value: float
    max: float


@dataclass(frozen=True)
class NodeProgress:
    """One node in a `progress_state`."""

    node: str
    display_node: str
    phase: NodePhase
    value: float
    max: float


@dataclass(frozen=True)
class ProgressState:
    """`progress_state`: all nodes that have begun. ComfyUI sends it twice for each node, so its size times their number
    grows with the square of the graph: `raw` is decoded only when somebody reads `nodes`."""

    prompt_id: str
    raw: str

    @cached_property
    def nodes(self) -> tuple[NodeProgress, ...]:
        """The nodes, as far as they are understood."""
        try:
            frame = maybe_object(decode(self.raw))
        except ShapeError:
            return ()
        return _nodes(maybe_object(maybe_object(frame.get("data")).get("nodes")))


@dataclass(frozen=True)
class Executed:
    """`executed`: a node has outputs to show."""

    prompt_id: str
    node: str
    display_node: str
    output: JsonObject


@dataclass(frozen=True)
class WrittenFile:
    """A file that the prompt wrote into the folder `folder` (`output` or `temp`), and the node that was at work then;
    empty where none was."""

    folder: str
    path: str
    node: str


@dataclass(frozen=True)
class FilesWritten:
    """`comfy_edge`, from the worker's package inside ComfyUI: every file that the prompt wrote, once it has run."""

    prompt_id: str
    files: tuple[WrittenFile, ...]


@dataclass(frozen=True)
class Ending:
    """`execution_success`, `execution_error`, `execution_interrupted`: the run has ended. Of a failure
    the history has the details."""

    prompt_id: str
    kind: Literal["success", "error", "interrupted"]


Message: TypeAlias = Started | Cached | Executing | Step | ProgressState | Executed | FilesWritten | Ending

REPORT = "comfy_edge"
"""What the package's report is called, as a message and in a history entry."""

_ENDINGS: dict[str, Literal["success", "error", "interrupted"]] = {
    "execution_success": "success",
    "execution_error": "error",
    "execution_interrupted": "interrupted",
}
_STATES_OF = re.compile(r'\{"type": ?"progress_state", ?"data": ?\{"prompt_id": ?"([^"\\]+)"')
"""How the message begins, with the prompt it is of: known without decoding the rest."""
_STATUS = re.compile(r'\{"type": ?"status"')
_PHASES: dict[str, NodePhase] = {
    "pending": "pending",
    "running": "running",
    "finished": "finished",
    "cached": "cached",
    "error": "error",
}


def parse_message(raw: str) -> Message | None:
    """The message in a text frame, or None when it is of a kind the worker does not use or of an unknown shape."""
    if (states := _STATES_OF.match(raw)) is not None:
        return ProgressState(states[1], raw)
    try:
        frame = maybe_object(decode(raw))
    except ShapeError:
        return None
    kind, data = frame.get("type"), maybe_object(frame.get("data"))
    prompt_id = maybe_text(data.get("prompt_id"))
    node = maybe_text(data.get("node"))
    if kind == "executing":
        return Executing(prompt_id, node, maybe_text(data.get("display_node")) or node)
    if kind == "progress":
        value, most = maybe_number(data.get("value")), maybe_number(data.get("max"))
        return None if value is None or most is None else Step(prompt_id, node, value, most)
    if prompt_id is None:
        return None
    if kind == "execution_start":
        at_ms = data.get("timestamp")
        return Started(prompt_id, at_ms if isinstance(at_ms, int) else None)
    if kind == "execution_cached":
        return Cached(prompt_id, tuple(item for item in maybe_list(data.get("nodes")) if isinstance(item, str)))
    if kind == "progress_state":
        return ProgressState(prompt_id, raw)
    if kind == "executed" and node is not None:
        shown = maybe_text(data.get("display_node")) or node
        return Executed(prompt_id, node, shown, maybe_object(data.get("output")))
    if kind == REPORT:
        return FilesWritten(prompt_id, written_files(data))
    if isinstance(kind, str) and kind in _ENDINGS:
        return Ending(prompt_id, _ENDINGS[kind])
    return None


def written_files(report: JsonObject) -> tuple[WrittenFile, ...]:
    """The files of a report of the worker's package inside ComfyUI (docs/reference/worker.md)."""
    files = (maybe_object(file) for file in maybe_list(report.get("files")))
    return tuple(
        WrittenFile(
            maybe_text(file.get("type")) or "", maybe_text(file.get("path")) or "", maybe_text(file.get("node")) or ""
        )
        for file in files
    )


def parse_queue_length(raw: str) -> int | None:
    """Return the number of ComfyUI's prompts, including the running one; None for another type of message."""
    if _STATUS.match(raw) is None:
        return None
    try:
        status = maybe_object(maybe_object(maybe_object(decode(raw)).get("data")).get("status"))
    except ShapeError:
        return None
    remaining = maybe_number(maybe_object(status.get("exec_info")).get("queue_remaining"))
    return int(remaining) if remaining is not None else None


def _nodes(states: JsonObject) -> tuple[NodeProgress, ...]:
    return tuple(parsed for node, state in states.items() if (parsed := _node(node, state)) is not None)


def _node(node: str, state: Json) -> NodeProgress | None:
    fields = maybe_object(state)
    phase = _PHASES.get(maybe_text(fields.get("state")) or "")
    if phase is None:
        return None
    value, most = maybe_number(fields.get("value")), maybe_number(fields.get("max"))
    return NodeProgress(node, maybe_text(fields.get("display_node_id")) or node, phase, value or 0.0, most or 1.0)
