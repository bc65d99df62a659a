"""The rules for one input: accepted values, their conversion, and accepted links."""

import math

from local_comfyui.json_types import Json, JsonObject, as_object

LONG_LIST = 20
"""Lists of choices longer than this are not repeated in an error."""


def fault(kind: str, message: str, details: str, extra: JsonObject | None = None) -> JsonObject:
    """One error in ComfyUI's shape."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra or {}}


def declared_inputs(inputs: JsonObject, entry: JsonObject) -> JsonObject:
    """The inputs that the node has; others are ignored, with their links."""
    groups = as_object(entry["input"])
    known = {**as_object(groups.get("required")), **as_object(groups.get("optional"))}
    return {name: value for name, value in inputs.items() if name in known}


def connects(provided: Json, declared: Json) -> bool:
    """Whether an output of type `provided` may go into an input of type `declared`.

    Types are comma-separated sets; they connect when they share a member or either is `*`.
    """
    if provided == declared or provided == "*" or declared == "*":
        return True
    if not isinstance(provided, str) or not isinstance(declared, str):
        return False
    return not set(provided.split(",")).isdisjoint(declared.split(","))


def judge_value(
    name: str, value: Json, declared: Json, config: JsonObject, *, listed: bool
) -> tuple[Json, JsonObject | None]:
    """Convert a plain value to its type, and return its error, if any. `listed`: it must be one of the choices."""
    if isinstance(value, dict) and "__value__" in value and not isinstance(value["__value__"], list):
        value = value["__value__"]  # A list stays wrapped, because a bare list would be a link.
    extra: JsonObject = {"input_name": name, "input_config": [declared, config]}
    try:
        value = _converted(value, declared)
    except (TypeError, ValueError, OverflowError) as problem:
        message = f"Failed to convert an input value to a {declared} value"
        extra |= {"received_value": value, "exception_message": str(problem)}
        return value, fault("invalid_input_type", message, f"{name}, {value}, {problem}", extra)
    extra["received_value"] = value
    low, high = config.get("min"), config.get("max")
    if isinstance(value, int | float) and isinstance(low, int | float) and value < low:
        return value, fault("value_smaller_than_min", f"Value {value} smaller than min of {low}", name, extra)
    if isinstance(value, int | float) and isinstance(high, int | float) and value > high:
        return value, fault("value_bigger_than_max", f"Value {value} bigger than max of {high}", name, extra)
    choices = declared if isinstance(declared, list) else config.get("options") if declared == "COMBO" else None
    if listed and isinstance(choices, list) and value not in choices:
        shown = str(choices)
        if len(choices) > LONG_LIST:
            shown, extra["input_config"] = f"(list of length {len(choices)})", None
        return value, fault("value_not_in_list", "Value not in list", f"{name}: {value!r} not in {shown}", extra)
    return value, None


def _converted(value: Json, declared: Json) -> Json:
    if declared == "STRING":
        return str(value)
    if declared == "BOOLEAN":
        return bool(value)
    if declared == "INT":
        return int(_scalar(value, "int() argument must be a string, a bytes-like object or a real number"))
    if declared == "FLOAT":
        number = float(_scalar(value, "float() argument must be a string or a real number"))
        if not math.isfinite(number):  # JSON has no such number, and the history must be valid JSON.
            raise ValueError(f"{number} is not a finite number")
        return number
    return value


def _scalar(value: Json, complaint: str) -> str | int | float:
    if isinstance(value, str | int | float):
        return value
    raise TypeError(f"{complaint}, not '{type(value).__name__}'")
