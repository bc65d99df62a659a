"""What the worker changes in a graph before ComfyUI sees it: where files are saved, and what its inputs are called."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from worker_gpu.shape import Json, JsonObject, maybe_object, maybe_text

DEFAULT_PREFIX = "ComfyUI"
"""ComfyUI's own default for `filename_prefix`."""
PREFIX_INPUT = "filename_prefix"
CONCATENATE = "StringConcatenate"
"""A core node of ComfyUI: `string_a`, `delimiter` and `string_b` as one text."""


@dataclass(frozen=True)
class Rewritten:
    """A graph for ComfyUI. `prefixes` tells which node saves under which path below the job's folder, where the graph
    says so."""

    workflow: JsonObject
    prefixes: dict[str, str]


def job_folder(job: str, attempt: int) -> str:
    """Name of the folder in ComfyUI's output folder that is this attempt's own."""
    return f"{job}.{attempt}"


def rewrite(
    workflow: Mapping[str, JsonObject],
    folder: str,
    stored_inputs: Mapping[str, str],
    known_classes: Container[str] = (),
) -> Rewritten:
    """`workflow` with every save prefix put below `folder`, and every input value that is exactly a name in
    `stored_inputs` replaced by its stored path. The graph given is not changed.

    A prefix that another node computes gets the folder in front by a node put between, where ComfyUI has one for it
    among `known_classes`; else it stays as it is.

    A prefix of its own for each attempt makes ComfyUI run its save nodes again on a warm cache instead of listing
    the files of an earlier job (reference/comfyui.md section 6).
    """
    graph: JsonObject = {}
    prefixes: dict[str, str] = {}
    for node_id, node in workflow.items():
        inputs = dict(maybe_object(node.get("inputs")))
        for name, value in inputs.items():
            if name == PREFIX_INPUT and isinstance(value, str):
                prefixes[node_id] = safe_relative(value)
                inputs[name] = f"{folder}/{prefixes[node_id]}"
            elif name == PREFIX_INPUT and _is_link(value) and CONCATENATE in known_classes:
                between = _unused_id(f"{node_id}-{PREFIX_INPUT}", workflow)
                graph[between] = {
                    "class_type": CONCATENATE,
                    "inputs": {"string_a": f"{folder}/", "string_b": value, "delimiter": ""},
                }
                inputs[name] = [between, 0]
            else:
                inputs[name] = _renamed(value, stored_inputs)
        graph[node_id] = {**node, "inputs": inputs} if "inputs" in node else node
    return Rewritten(graph, prefixes)


def safe_relative(prefix: str) -> str:
    """`prefix` as a path that stays below its folder: no root, drive, `..` or NUL; never empty."""
    plain = prefix.replace("\\", "/").replace("\0", "")
    parts = [part for part in plain.split("/") if part.strip() not in ("", ".", "..")]
    if parts and len(parts[0]) == 2 and parts[0][1] == ":":
        parts = parts[1:]
    return "/".join(parts) or DEFAULT_PREFIX


def class_types(workflow: Mapping[str, JsonObject]) -> dict[str, str]:
    """Class name of each node of the graph."""
    return {node_id: maybe_text(node.get("class_type")) or "" for node_id, node in workflow.items()}


def _renamed(value: Json, stored: Mapping[str, str]) -> Json:
    """Lists and objects are literal values too (some nodes take lists of files); links `[id, slot]` name no file."""
    if isinstance(value, str):
        return stored.get(value, value)
    if _is_link(value):
        return value
    if isinstance(value, list):
        return [_renamed(item, stored) for item in value]
    if isinstance(value, dict):
        return {name: _renamed(item, stored) for name, item in value.items()}
    return value


def _is_link(value: Json) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def _unused_id(wish: str, workflow: Mapping[str, JsonObject]) -> str:
    while wish in workflow:
        wish += "-"
    return wish
