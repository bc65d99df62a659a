"""What the worker changes in a graph for a ComfyUI that it did not start, whose folders jobs share: where files are
saved, and what its inputs are called. A ComfyUI of ours gets the graph as it was sent."""

from collections.abc import Container, Mapping

from worker_gpu.json_readers import Json, JsonObject, maybe_object, maybe_text

DEFAULT_PREFIX = "ComfyUI"
"""ComfyUI's own default for `filename_prefix`."""
PREFIX_INPUT = "filename_prefix"
OTHER_PATH_INPUTS = {"SaveLoRA": "prefix", "SaveLoRANode": "prefix", "SaveTrainingDataset": "folder_name"}
"""Core nodes whose path below the output folder is in an input of another name."""
FOLDER_INPUTS = ("folder_name", "output_path")
"""Inputs that name a folder below the output folder for a node that has a `filename_prefix` as well, and makes no
folder for that: SaveImageDataSetToFolder, SaveImageTextDataSetToFolder, WAS's Image Save and its many relatives."""
RUN_INPUT = "comfy_edge_run"
"""An input that no node has: ComfyUI hands it to none, but counts it when it asks whether a node's inputs changed."""
CONCATENATE = "StringConcatenate"
"""A core node of ComfyUI: `string_a`, `delimiter` and `string_b` as one text."""


def job_folder(job: str, attempt: int) -> str:
    """The name of the attempt's spool, and of its folder in the output folder of somebody else's ComfyUI."""
    return f"{job}.{attempt}"


def rewrite(
    workflow: Mapping[str, JsonObject],
    folder: str,
    stored_inputs: Mapping[str, str],
    known_classes: Container[str] = (),
    output_classes: Container[str] = (),
) -> JsonObject:
    """`workflow` with every path that a node saves under put below `folder`, and every input value that is exactly a
    name in `stored_inputs` replaced by its stored path. The graph given is not changed.

    A path that another node computes gets the folder in front by a node put between, where ComfyUI has one for it among
    `known_classes`; else it stays as it is.

    A path of its own for each attempt makes ComfyUI run its save nodes again on a warm cache instead of listing the
    files of an earlier job (reference/comfyui.md section 6). Where a node of `output_classes` has no such path,
    `RUN_INPUT` does the same.
    """
    graph: JsonObject = {}
    for node_id, node in workflow.items():
        inputs, class_type = _inputs_of(node), maybe_text(node.get("class_type")) or ""
        placed = _path_input(class_type, inputs)
        runs_again = False
        for name, value in inputs.items():
            if name == placed and isinstance(value, str):
                inputs[name] = f"{folder}/{safe_relative(value)}"
                runs_again = True
            elif name == placed and _is_link(value) and CONCATENATE in known_classes:
                between = _unused_id(f"{node_id}-{name}", workflow)
                graph[between] = {
                    "class_type": CONCATENATE,
                    "inputs": {"string_a": f"{folder}/", "string_b": value, "delimiter": ""},
                }
                inputs[name] = [between, 0]
                runs_again = True
            elif name == PREFIX_INPUT and isinstance(value, str):
                inputs[name] = safe_relative(value)
            else:
                inputs[name] = _renamed(value, stored_inputs)
        if not runs_again and class_type in output_classes and "inputs" in node:
            inputs[RUN_INPUT] = folder
        graph[node_id] = {**node, "inputs": inputs} if "inputs" in node else node
    return graph


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


def _inputs_of(node: JsonObject) -> JsonObject:
    return dict(maybe_object(node.get("inputs")))


def _path_input(class_type: str, inputs: JsonObject) -> str | None:
    """The input that says where below the output folder a node saves."""
    if class_type in OTHER_PATH_INPUTS:
        return OTHER_PATH_INPUTS[class_type]
    if PREFIX_INPUT not in inputs:
        return None
    folders = (name for name in FOLDER_INPUTS if isinstance(inputs.get(name), str) or _is_link(inputs.get(name)))
    return next(folders, PREFIX_INPUT)


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
    """Whether an input is another node's output, `[id, slot]`."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    node, slot = value
    return isinstance(node, str) and isinstance(slot, int) and not isinstance(slot, bool)


def _unused_id(wish: str, workflow: Mapping[str, JsonObject]) -> str:
    while wish in workflow:
        wish += "-"
    return wish
