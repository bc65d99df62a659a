"""Nodes that hold a value, and the node that shows any value."""

import json

from local_comfyui.nodes.registry import Call, Result, Theme, Value
from local_comfyui.nodes.shown import as_shown

NODES = Theme()


@NODES.node("PrimitiveInt")
@NODES.node("PrimitiveFloat")
@NODES.node("PrimitiveString")
@NODES.node("PrimitiveStringMultiline")
@NODES.node("PrimitiveBoolean")
def primitive(call: Call) -> Result:
    """The value itself, already of its type when the prompt was accepted."""
    return Result((call.inputs["value"],))


@NODES.node("PreviewAny")
def preview_any(call: Call) -> Result:
    """Any value as text in the node's output."""
    return Result(ui={"text": [_shown(call.inputs.get("source"))]})


def _shown(value: Value) -> str:
    if value is None:
        return "None"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    try:
        return json.dumps(value, indent=4)
    except (TypeError, ValueError):
        return str(as_shown(value))
