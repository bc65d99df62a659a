"""JSON from outside: its type, and readers that either give a value of the type asked for or say what is wrong."""

import json
import math
import re
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
JsonObject: TypeAlias = dict[str, Json]


class ShapeError(ValueError):
    """JSON that lacks a field or holds one of another type; the message names the field, never its value."""


def decode(raw: str | bytes) -> Json:
    """The JSON value in `raw`. Raises `ShapeError`."""
    try:
        value: Json = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ShapeError("not JSON") from error
    return value


def encode(value: Json) -> str:
    """`value` as compact JSON text that any encoding takes: halves of a surrogate pair are escaped, the rest is not."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    # A half stands only inside a string, where Python's escape is JSON's.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def well_formed(value: Json) -> Json:
    """`value` as every reader of JSON takes it: U+FFFD for each half of a surrogate pair, null for what is no number.
    ComfyUI sends both: file names with bytes that are no UTF-8, and NaN."""
    if isinstance(value, str):
        return well_formed_text(value)
    if isinstance(value, dict):
        return {well_formed_text(name): well_formed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [well_formed(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def well_formed_object(value: JsonObject) -> JsonObject:
    """`well_formed` of an object."""
    return {well_formed_text(name): well_formed(item) for name, item in value.items()}


def well_formed_text(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair, which no UTF-8 can hold."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


_HALVES = re.compile("[\ud800-\udfff]")


def is_deeper(value: Json, depth: int) -> bool:
    """Whether lists and objects are nested in more than `depth` levels."""
    level: list[Json] = [value]
    for _ in range(depth + 1):
        # Level by level, because recursion would fail on the deep nesting that this detects.
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
        ]
        if not level:
            return False
    return True


def need_object(value: Json, where: str) -> JsonObject:
    """`value` as an object. Raises `ShapeError`."""
    if isinstance(value, dict):
        return value
    raise ShapeError(f"{where}: must be an object")


def need_list(value: Json, where: str) -> list[Json]:
    """`value` as a list. Raises `ShapeError`."""
    if isinstance(value, list):
        return value
    raise ShapeError(f"{where}: must be a list")


def need_text(source: JsonObject, field: str) -> str:
    """The non-empty string `source[field]`. Raises `ShapeError`."""
    value = source.get(field)
    if isinstance(value, str) and value:
        return value
    raise ShapeError(f"{field}: must be a non-empty string")


def need_count(source: JsonObject, field: str, least: int = 0) -> int:
    """The whole number `source[field]`, at least `least`. Raises `ShapeError`."""
    value = source.get(field)
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ShapeError(f"{field}: must be a whole number of at least {least}")


def need_flag(source: JsonObject, field: str) -> bool:
    """The boolean `source[field]`. Raises `ShapeError`."""
    value = source.get(field)
    if isinstance(value, bool):
        return value
    raise ShapeError(f"{field}: must be true or false")


def maybe_object(value: Json) -> JsonObject:
    """`value` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def maybe_list(value: Json) -> list[Json]:
    """`value` when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def maybe_text(value: Json) -> str | None:
    """`value` when it is a string, else None."""
    return value if isinstance(value, str) else None


def maybe_number(value: Json) -> float | None:
    """`value` when it is a number, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
