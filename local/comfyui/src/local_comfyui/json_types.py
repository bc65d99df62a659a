"""The type of JSON values, and the one place that parses them."""

import json
import sys
from typing import NoReturn, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
JsonObject: TypeAlias = dict[str, Json]


def parse_json(text: str | bytes) -> Json:
    """The JSON value in `text`. Raises `ValueError` (its subclasses for bad JSON and bad UTF-8) when there is none.

    Stricter than Python's own reader, so that whatever was read can be written: no NaN, no infinity.
    """
    try:
        value: Json = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as cause:
        raise ValueError("nested too deeply") from cause
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """The number, at most the largest that fits."""
    return min(max(float(digits), -sys.float_info.max), sys.float_info.max)


def as_object(value: Json) -> JsonObject:
    """`value` when it is an object, else an empty one: for parts of a request that are optional."""
    return value if isinstance(value, dict) else {}


def as_strings(value: Json) -> list[str]:
    """The strings in `value` when it is a list, else none."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
