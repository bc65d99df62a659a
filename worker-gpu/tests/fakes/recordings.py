"""The traffic recorded from a real ComfyUI (test/fixtures/comfyui), one prompt at a time."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path

from worker_gpu.json_readers import JsonObject, decode, maybe_list, maybe_object, maybe_text, need_object

FIXTURES = Path(__file__).parents[3] / "test" / "fixtures" / "comfyui"
OLDEST = "0.3.64"
"""The version that single cases are taken from."""
(PINNED,) = re.findall(
    r"^ARG COMFYUI_VERSION=(\S+)$", (Path(__file__).parents[2] / "Dockerfile").read_text(), re.MULTILINE
)
"""The version that the image has; it has the jobs API."""
NO_PROMPT = frozenset({"http_calls", "object_info", "extra_probes"})
"""Files that hold no run of a prompt."""


@dataclass(frozen=True)
class Recording:
    """One prompt as one client met it. `entry` is its history, None where it never ran."""

    version: str
    case: str
    prompt_id: str
    graph: dict[str, JsonObject]
    status: int
    answer: JsonObject
    frames: tuple[str | bytes, ...]
    entry: JsonObject | None

    @property
    def accepted(self) -> bool:
        """Whether ComfyUI took all of it."""
        return self.status == 200 and not self.answer.get("node_errors")

    def __str__(self) -> str:
        return f"{self.version}-{self.case}-{self.prompt_id[:4]}"


def all_recordings(version: str = "*") -> list[Recording]:
    """Every prompt in every file, of every version or of one."""
    files = sorted(path for path in FIXTURES.glob(f"{version}/*.json") if path.stem not in NO_PROMPT)
    return [recording for path in files for recording in _read(path)]


def recording(case: str) -> Recording:
    """The only prompt, or the first, of a file."""
    return _read(FIXTURES / OLDEST / f"{case}.json")[0]


def object_info() -> JsonObject:
    """`GET /object_info`."""
    return need_object(decode((FIXTURES / OLDEST / "object_info.json").read_bytes()), "object_info")


def _read(path: Path) -> list[Recording]:
    source = need_object(decode(path.read_bytes()), path.stem)
    version = path.parent.name
    if "prompt_response" in source:
        return [_single(version, path.stem, source)]
    return _several(version, path.stem, source)


def _single(version: str, case: str, source: JsonObject) -> Recording:
    response = need_object(source.get("prompt_response"), "prompt_response")
    answer = need_object(response.get("body"), "body")
    prompt_id = maybe_text(answer.get("prompt_id")) or f"none-{case}"
    status = response.get("status")
    assert isinstance(status, int)
    entry = maybe_object(source.get("history")).get(prompt_id)
    return Recording(
        version,
        case,
        prompt_id,
        _graph(maybe_object(source.get("prompt"))),
        status,
        answer,
        _frames(source, "websocket_messages"),
        entry if isinstance(entry, dict) else None,
    )


def _several(version: str, case: str, source: JsonObject) -> list[Recording]:
    """Two clients side by side: each prompt for the client that submitted it, each from all frames that client got."""
    found: list[Recording] = []
    text = json.dumps(source)
    steps = [need_object(step, "step") for step in maybe_list(source.get("steps"))]
    late = [step for step in steps if "websocket_late" in step]
    for frames in [
        _frames(source, "websocket_a"),
        _frames(source, "websocket_b"),
        *(_frames(s, "websocket_late") for s in late),
    ]:
        ids = dict.fromkeys(
            prompt_id
            for frame in frames
            if isinstance(frame, str)
            and (prompt_id := maybe_text(maybe_object(_data(frame)).get("prompt_id"))) is not None
        )
        found += [_of(version, case, prompt_id, frames, steps, text) for prompt_id in ids]
    return found


def _of(
    version: str, case: str, prompt_id: str, frames: tuple[str | bytes, ...], steps: list[JsonObject], text: str
) -> Recording:
    entry = _entry_in(steps, prompt_id) or _entry_of(prompt_id, frames)
    prompt = maybe_list(entry.get("prompt"))
    graph = _graph(maybe_object(prompt[2])) if len(prompt) > 2 else _graph_in_queue(steps, prompt_id)
    bodies = [maybe_object(step.get("body")) or step for step in steps]
    answers = [body for body in bodies if body.get("prompt_id") == prompt_id]
    plain: JsonObject = {"prompt_id": prompt_id, "number": 0, "node_errors": {}}
    assert prompt_id in text
    return Recording(
        version,
        case,
        prompt_id,
        graph or _graph_of(frames, prompt_id),
        200,
        answers[0] if answers else plain,
        frames,
        entry,
    )


def _entry_in(steps: list[JsonObject], prompt_id: str) -> JsonObject | None:
    for step in steps:
        for value in step.values():
            entry = maybe_object(value).get(prompt_id)
            if isinstance(entry, dict) and "outputs" in entry:
                return entry
    return None


def _entry_of(prompt_id: str, frames: tuple[str | bytes, ...]) -> JsonObject:
    """The history that ComfyUI writes for a success, from the messages, where none was recorded."""
    outputs: JsonObject = {}
    for frame in frames:
        message = need_object(decode(frame), "frame") if isinstance(frame, str) else {}
        data = maybe_object(message.get("data"))
        if message.get("type") == "executed" and data.get("prompt_id") == prompt_id:
            outputs[maybe_text(data.get("node")) or ""] = maybe_object(data.get("output"))
    return {"outputs": outputs, "status": {"status_str": "success", "completed": True, "messages": []}, "meta": {}}


def _graph_in_queue(steps: list[JsonObject], prompt_id: str) -> dict[str, JsonObject]:
    for step in steps:
        for queue in (step, maybe_object(step.get("queue"))):
            for entry in maybe_list(queue.get("queue_running")) + maybe_list(queue.get("queue_pending")):
                parts = maybe_list(entry)
                if len(parts) > 2 and parts[1] == prompt_id:
                    return _graph(maybe_object(parts[2]))
    return {}


def _graph_of(frames: tuple[str | bytes, ...], prompt_id: str) -> dict[str, JsonObject]:
    """Where no graph was recorded, the nodes that the messages name, as the recorder's probe graph has them."""
    known = {"1": "EmptyImage", "2": "SaveImage", "5": "SlowSteps"}
    named: set[str] = set()
    for frame in frames:
        data = maybe_object(_data(frame)) if isinstance(frame, str) else {}
        if data.get("prompt_id") == prompt_id:
            named |= set(maybe_object(data.get("nodes")))
            named |= {node for node in maybe_list(data.get("nodes")) if isinstance(node, str)}
    return {node: {"class_type": known.get(node, ""), "inputs": {}} for node in sorted(named)}


def _graph(source: JsonObject) -> dict[str, JsonObject]:
    return {node_id: maybe_object(node) for node_id, node in source.items()}


def _data(frame: str) -> JsonObject:
    return maybe_object(maybe_object(decode(frame)).get("data"))


def _frames(source: JsonObject, field: str) -> tuple[str | bytes, ...]:
    frames: list[str | bytes] = []
    for message in map(maybe_object, maybe_list(source.get(field))):
        binary = message.get("binary")
        frames.append(base64.b64decode(binary) if isinstance(binary, str) else json.dumps(message.get("text")))
    return tuple(frames)
