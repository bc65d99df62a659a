"""Parses and checks the input of a direct job: the workflow and its input files."""

import binascii
import re
from dataclasses import dataclass, field

import pybase64

from worker_gpu.comfy.progress import Progress
from worker_gpu.direct.file_names import clashing, name_problem, portable_name, with_linux_paths
from worker_gpu.json_readers import (
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
"""More than any known workflow has; keeps a wrong upload from ComfyUI."""
MAX_DEPTH = 64
"""Levels of nested lists and objects, as in the gateway: more than any workflow has, and safe for recursion."""
MAX_WORD_CHARS = 300
"""Longest id and class of a node, as in the gateway: both are part of each output and of errors."""

_DATA_URL = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)

EDITOR_GRAPH = (
    "The workflow is in the editor's format (it has the lists `nodes` and `links`), which only the editor can run. "
    "Export it with Workflow > Export (API) and send the exported file."
)


class BadRequest(Exception):  # noqa: N818 -- an error of the client
    """The input of a direct job is wrong. `code` is `invalid_request` or `invalid_workflow`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class InputFile:
    """An input file and its name in the workflow."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Request:
    """A direct job."""

    workflow: dict[str, JsonObject] = field(repr=False)
    input_files: tuple[InputFile, ...]
    timeout_s: float | None
    temp_outputs: bool
    metadata: bool
    comfy_org_api_key: str | None = field(repr=False)

    @staticmethod
    def parse(value: Json) -> "Request":
        """Parse the `input` of a RunPod job without a gateway. Raises `BadRequest`."""
        try:
            source = need_object(value, "input")
            if is_deeper(value, MAX_DEPTH):
                raise BadRequest(
                    "invalid_request", f"input: lists and objects are nested more than {MAX_DEPTH} levels deep"
                )
            options = need_object(source.get("options") or {}, "options")
            input_files = tuple(_input_file(item) for item in need_list(source.get("images") or [], "images"))
            names = [input_file.name for input_file in input_files]
            if (clash := clashing(names)) is not None:
                raise BadRequest(
                    "invalid_request",
                    f"images: the name {clash[:80]} is that of another file or of its folder",
                )
            workflow = _with_params(_workflow(source.get("workflow")), source.get("params"))
            return Request(
                workflow=with_linux_paths(workflow, names),
                input_files=input_files,
                timeout_s=_timeout(source.get("timeout")),
                temp_outputs=_flag(options, "temp_outputs", False),
                metadata=_flag(options, "metadata", True),
                # worker-comfyui's page and its code disagree about the name (reference/competitors.md section 3).
                comfy_org_api_key=maybe_text(source.get("comfy_org_api_key"))
                or maybe_text(source.get("api_key_comfy_org")),
            )
        except ShapeError as error:
            raise BadRequest("invalid_request", str(error)) from error


def progress_message(progress: Progress) -> JsonObject:
    """Progress as the status of a direct job shows it."""
    return {"type": "progress", "percent": round(progress.value * 100, 1), **progress.to_wire()}


def _workflow(value: Json) -> dict[str, JsonObject]:
    if isinstance(value, str):
        try:
            value = decode(value)
        except ShapeError as error:
            raise BadRequest("invalid_workflow", "workflow: the text is not JSON") from error
        if is_deeper(value, MAX_DEPTH):
            raise BadRequest("invalid_workflow", f"workflow: is nested more than {MAX_DEPTH} levels deep")
    if not isinstance(value, dict) or not value:
        raise BadRequest(
            "invalid_workflow", "workflow: must be a workflow in ComfyUI's API format with at least one node"
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
                "invalid_workflow",
                f"workflow: the id or class of node {node_id[:40]} has more than {MAX_WORD_CHARS} characters",
            )
        if not isinstance(fields.get("inputs", {}), dict):
            raise BadRequest("invalid_workflow", f"workflow: the inputs of node {node_id[:40]} are not an object")
        graph[node_id] = {"inputs": {}, **fields}
    return graph


def _with_params(graph: dict[str, JsonObject], params: Json) -> dict[str, JsonObject]:
    changed = dict(graph)
    for node_id, inputs in need_object(params or {}, "params").items():
        if node_id not in graph:
            raise BadRequest("invalid_request", f"params: the workflow has no node {node_id[:40]}")
        given = need_object(inputs, f"params.{node_id[:40]}")
        changed[node_id] = {**graph[node_id], "inputs": {**maybe_object(graph[node_id]["inputs"]), **given}}
    return changed


def _input_file(value: Json) -> InputFile:
    source = need_object(value, "images")
    name, text = need_text(source, "name"), need_text(source, "image")
    if (problem := name_problem(name)) is not None:
        raise BadRequest("invalid_request", f"images: the name {name[:80]} {problem}")
    return InputFile(portable_name(name), _bytes(name, text))


def _bytes(name: str, text: str) -> bytes:
    found = _DATA_URL.match(text)
    if found is not None:
        if not found.group().lower().endswith(";base64,"):
            raise BadRequest("invalid_request", f"images: {name[:80]} is a data URL without base64")
        text = text[found.end() :]
    elif "://" in text[:12]:
        raise BadRequest("invalid_request", f"images: {name[:80]} is a URL. Send base64 or a data URL")
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass  # The base64 may be broken into lines.
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
    """Whether the input of a RunPod job is a direct job or an action, rather than a ticket of a gateway."""
    source = maybe_object(value)
    is_ticket = "gateway" in source or "token" in source or ("job" in source and "workflow" not in source)
    return not is_ticket


def named_action(value: Json) -> str | None:
    """The `action` of an input that has no workflow."""
    return maybe_text(maybe_object(value).get("action"))
