"""ComfyUI's refusals and execution errors in the contract's words. No inputs, outputs or tracebacks."""

import re

from worker_gpu.errors import Code, JobError, NodeRef
from worker_gpu.json_readers import Json, JsonObject, maybe_list, maybe_object, maybe_text
from worker_gpu.redaction import public_text

MAX_NODES_SHOWN = 20
MAX_ERRORS_PER_NODE = 5
MAX_DETAIL_CHARS = 300

_MEMORY_TYPES = ("OutOfMemoryError", "MemoryError")
_MEMORY_WORDS = ("out of memory", "not enough memory", "cannot allocate memory", "cudnn_status_alloc_failed")


def refused(body: JsonObject) -> JobError:
    """A 400 to `/prompt`, or a 200 whose `node_errors` say that some outputs would be left out."""
    nodes = maybe_object(body.get("node_errors"))
    top = maybe_object(body.get("error"))
    shown = {node_id: _node_errors(nodes[node_id]) for node_id in list(nodes)[:MAX_NODES_SHOWN]}
    details: JsonObject = {"type": maybe_text(top.get("type")) or "node_errors", "node_errors": dict(shown)}
    if len(nodes) > len(shown):
        details["nodes_left_out"] = len(nodes) - len(shown)
    missing = _missing_models(nodes)
    if not missing:
        return JobError("invalid_workflow", _refusal_message(top, nodes), node=_only_node(top, nodes), details=details)
    named: list[Json] = [public_text(name, MAX_DETAIL_CHARS) for name in missing[:MAX_NODES_SHOWN]]
    details["models"] = named
    return JobError("model_missing", _lacks(missing), node=_only_node(top, nodes), details=details)


def from_history(messages: list[tuple[str, JsonObject]]) -> tuple[JobError, bool]:
    """Why a prompt ended with status `error`, and whether it was interrupted."""
    for name, data in reversed(messages):
        if name == "execution_error":
            return raised(data), False
        if name == "execution_interrupted":
            return JobError("execution_error", "The run was interrupted in ComfyUI."), True
    return JobError("execution_error", "ComfyUI ended the run with an error it did not describe."), False


def raised(data: JsonObject) -> JobError:
    """An `execution_error`: a node raised an exception."""
    kind = maybe_text(data.get("exception_type")) or "Exception"
    message = maybe_text(data.get("exception_message")) or "no message"
    node_id, node_type = maybe_text(data.get("node_id")), maybe_text(data.get("node_type"))
    node = NodeRef(node_id, node_type or "") if node_id is not None else None
    return JobError(_raised_code(kind, message), message, node=node, details={"exception_type": public_text(kind, 200)})


def _raised_code(kind: str, message: str) -> Code:
    lower = message.lower()
    if kind.rsplit(".", 1)[-1] in _MEMORY_TYPES or any(words in lower for words in _MEMORY_WORDS):
        return "out_of_memory"
    return "execution_error"


def _missing_models(nodes: JsonObject) -> list[str]:
    """Models that are not there, where nothing else is wrong: values that are not in a loader's list and end like the
    name of a model file."""
    kinds = [
        (maybe_text(error.get("type")), maybe_object(error.get("extra_info")))
        for node in nodes.values()
        for error in map(maybe_object, maybe_list(maybe_object(node).get("errors")))
    ]
    if any(kind != "value_not_in_list" or not _is_model(extra) for kind, extra in kinds):
        return []
    return list(dict.fromkeys(maybe_text(extra.get("received_value")) or "" for _, extra in kinds))


def _lacks(models: list[str]) -> str:
    """Name only the missing models. ComfyUI's own message lists every model that it has."""
    if len(models) == 1:
        return f"The worker lacks the model {models[0]}: it is neither in its folders nor in its manifest."
    return f"The worker lacks {len(models)} models: {', '.join(models)}."


_NAMED_NODE = re.compile(r"Node ID '#([^']+)'")
"""How ComfyUI names the node of an unknown class (recorded in invalid_unknown_class.json)."""
_MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".gguf", ".onnx")


def _is_model(extra: JsonObject) -> bool:
    received = maybe_text(extra.get("received_value"))
    return received is not None and received.lower().endswith(_MODEL_SUFFIXES)


def _refusal_message(top: JsonObject, nodes: JsonObject) -> str:
    if len(nodes) == 1:
        (only,) = nodes.values()
        errors = _node_errors(only)["errors"]
        first = maybe_object(maybe_list(errors)[0]) if maybe_list(errors) else {}
        if text := _joined(first):
            return text
    if len(nodes) > 1:
        return f"{len(nodes)} nodes of the graph have errors."
    return _joined(top) or "ComfyUI refused the graph."


def _joined(error: JsonObject) -> str:
    """Message and details as one text, each once."""
    parts = [maybe_text(error.get("message")) or "", maybe_text(error.get("details")) or ""]
    parts = [part for part in dict.fromkeys(parts) if part]
    return (" " if parts and parts[0].endswith(".") else ": ").join(parts)


def _node_errors(node: Json) -> JsonObject:
    fields = maybe_object(node)
    errors: list[Json] = []
    for error in map(maybe_object, maybe_list(fields.get("errors"))[:MAX_ERRORS_PER_NODE]):
        shown: JsonObject = {
            "type": maybe_text(error.get("type")) or "",
            "message": public_text(maybe_text(error.get("message")) or "", MAX_DETAIL_CHARS),
            "details": public_text(maybe_text(error.get("details")) or "", MAX_DETAIL_CHARS),
        }
        name = maybe_text(maybe_object(error.get("extra_info")).get("input_name"))
        if name is not None:
            shown["input_name"] = public_text(name, MAX_DETAIL_CHARS)
        errors.append(shown)
    return {"class_type": maybe_text(fields.get("class_type")) or "", "errors": errors}


def _only_node(top: JsonObject, nodes: JsonObject) -> NodeRef | None:
    if len(nodes) == 1:
        ((node_id, node),) = nodes.items()
        return NodeRef(node_id, maybe_text(maybe_object(node).get("class_type")) or "")
    extra = maybe_object(top.get("extra_info"))
    node_id = maybe_text(extra.get("node_id"))
    if node_id is None and (named := _NAMED_NODE.search(maybe_text(top.get("details")) or "")) is not None:
        node_id = named.group(1)
    return NodeRef(node_id, maybe_text(extra.get("class_type")) or "") if node_id else None
