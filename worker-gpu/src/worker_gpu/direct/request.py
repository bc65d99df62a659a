"""What a direct job asks for, checked: the graph and its files. Faults are told in words a person can act on."""

import binascii
import re
from dataclasses import dataclass, field

import pybase64

from worker_gpu.comfy.progress import Progress
from worker_gpu.direct.file_names import clashing, name_problem, portable_name, with_linux_paths
from worker_gpu.shape import (
    Json,
    JsonObject,
    ShapeError,
    decode,
    is_deeper,
    maybe_number,
    maybe_object,
    maybe_text,
    need_list,
    need_object,
    need_text,
)

MAX_TIMEOUT_S = 7 * 24 * 3600.0
"""RunPod's longest execution timeout (reference/runpod.md 2.2)."""
MAX_NODES = 10_000
"""More than any graph known; keeps a mistaken upload from ComfyUI."""
MAX_DEPTH = 64
"""Levels of lists and objects, as the gateway has it: far more than any graph's, far fewer than a walk can take."""
MAX_WORD_CHARS = 300
"""Longest id and class of a node, as the gateway has it: both are said of each output and in errors."""

_DATA_URL = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)

EDITOR_GRAPH = (
    "The workflow is in the editor's format (it has the lists `nodes` and `links`), which only the editor can run. "
    "Export it with Workflow > Export (API) and send that."
)


class BadRequest(Exception):  # noqa: N818 -- the sender's mistake
    """The input of a direct job is wrong. `code` is `invalid_request` or `invalid_workflow`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Picture:
    """An input file, and what the graph calls it."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Request:
    """A direct job."""

    workflow: dict[str, JsonObject] = field(repr=False)
    pictures: tuple[Picture, ...]
    timeout_s: float | None
    temp_outputs: bool
    metadata: bool
    comfy_org_api_key: str | None = field(repr=False)

    @staticmethod
    def parse(value: Json) -> "Request":
        """The `input` of a RunPod job without a gateway. Raises `BadRequest`."""
        try:
            source = need_object(value, "input")
            if is_deeper(value, MAX_DEPTH):
                raise BadRequest("invalid_request", f"input: lists and objects are nested over {MAX_DEPTH} levels deep")
            options = need_object(source.get("options") or {}, "options")
            pictures = tuple(_picture(item) for item in need_list(source.get("images") or [], "images"))
            names = [picture.name for picture in pictures]
            if (clash := clashing(names)) is not None:
                raise BadRequest(
                    "invalid_request", f"images: {clash[:80]} has the name of another file, or of its folder"
                )
            workflow = _with_params(_workflow(source.get("workflow")), source.get("params"))
            return Request(
                workflow=with_linux_paths(workflow, names),
                pictures=pictures,
                timeout_s=_timeout(source.get("timeout")),
                temp_outputs=_flag(options, "temp_outputs", False),
                metadata=_flag(options, "metadata", True),
                # worker-comfyui's page and its code disagree about the name (reference/competitors.md section 3).
                comfy_org_api_key=maybe_text(source.get("comfy_org_api_key"))
                or maybe_text(source.get("api_key_comfy_org")),
            )
        except ShapeError as error:
            raise BadRequest("invalid_request", str(error)) from error


def progress_line(progress: Progress) -> JsonObject:
    """Progress as a direct job's status shows it."""
    return {"type": "progress", "percent": round(progress.value * 100, 1), **progress.to_wire()}


def _workflow(value: Json) -> dict[str, JsonObject]:
    if isinstance(value, str):
        try:
            value = decode(value)
        except ShapeError as error:
            raise BadRequest("invalid_workflow", "workflow: is a text that holds no JSON") from error
        if is_deeper(value, MAX_DEPTH):
            raise BadRequest("invalid_workflow", f"workflow: is nested over {MAX_DEPTH} levels deep")
    if not isinstance(value, dict) or not value:
        raise BadRequest(
            "invalid_workflow", "workflow: must be a graph in ComfyUI's API format, with at least one node"
        )
    if isinstance(value.get("nodes"), list) and ("links" in value or "last_node_id" in value):
        raise BadRequest("invalid_workflow", EDITOR_GRAPH)
    if len(value) > MAX_NODES:
        raise BadRequest("invalid_workflow", f"workflow: has more than {MAX_NODES} nodes")
    graph: dict[str, JsonObject] = {}
    for node_id, node in value.items():
        fields = maybe_object(node)
        class_type = maybe_text(fields.get("class_type"))
        if not class_type:
            raise BadRequest("invalid_workflow", f"workflow: node {node_id[:40]} has no class_type")
        if max(len(node_id), len(class_type)) > MAX_WORD_CHARS:
            raise BadRequest(
                "invalid_workflow", f"workflow: the id or class of node {node_id[:40]} is over {MAX_WORD_CHARS} long"
            )
        if not isinstance(fields.get("inputs", {}), dict):
            raise BadRequest("invalid_workflow", f"workflow: the inputs of node {node_id[:40]} are no object")
        graph[node_id] = {"inputs": {}, **fields}
    return graph


def _with_params(graph: dict[str, JsonObject], params: Json) -> dict[str, JsonObject]:
    changed = dict(graph)
    for node_id, inputs in need_object(params or {}, "params").items():
        if node_id not in graph:
            raise BadRequest("invalid_request", f"params: the graph has no node {node_id[:40]}")
        given = need_object(inputs, f"params.{node_id[:40]}")
        changed[node_id] = {**graph[node_id], "inputs": {**maybe_object(graph[node_id]["inputs"]), **given}}
    return changed


def _picture(value: Json) -> Picture:
    source = need_object(value, "images")
    name, text = need_text(source, "name"), need_text(source, "image")
    if (problem := name_problem(name)) is not None:
        raise BadRequest("invalid_request", f"images: the name {name[:80]} {problem}")
    return Picture(portable_name(name), _bytes(name, text))


def _bytes(name: str, text: str) -> bytes:
    found = _DATA_URL.match(text)
    if found is not None:
        if not found.group().lower().endswith(";base64,"):
            raise BadRequest("invalid_request", f"images: {name[:80]} is a data URL without base64")
        text = text[found.end() :]
    elif "://" in text[:12]:
        raise BadRequest("invalid_request", f"images: {name[:80]} is a URL; send base64 or a data URL")
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass  # it may be in lines
    try:
        return pybase64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("invalid_request", f"images: {name[:80]} is not base64") from error


def _flag(options: JsonObject, name: str, default: bool) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest("invalid_request", f"options.{name}: must be true or false")
    return value


def _timeout(value: Json) -> float | None:
    if value is None:
        return None
    seconds = maybe_number(value)
    if seconds is None or not 0 < seconds <= MAX_TIMEOUT_S:
        raise BadRequest("invalid_request", f"timeout: must be a number of seconds, at most {int(MAX_TIMEOUT_S)}")
    return seconds


def is_direct(value: Json) -> bool:
    """Whether a RunPod job's input is meant for the worker itself and not a gateway's ticket."""
    source = maybe_object(value)
    named = "gateway" in source or "token" in source or ("job" in source and "workflow" not in source)
    return not named


def named_action(value: Json) -> str | None:
    """The `action` an input names instead of a graph."""
    return maybe_text(maybe_object(value).get("action"))
