"""The type of what passes over HTTP and sockets, and the one place where text becomes it."""

import json
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
JsonObject: TypeAlias = dict[str, Json]


def parse_json(text: str | bytes) -> Json:
    """The JSON value in `text`. Raises `ValueError` (its subclasses for bad JSON and bad UTF-8) when there is none."""
    value: Json = json.loads(text)
    return value


def as_object(value: Json) -> JsonObject:
    """`value` when it is an object, else an empty one: for parts of a request that are optional."""
    return value if isinstance(value, dict) else {}


def as_strings(value: Json) -> list[str]:
    """The strings in `value` when it is a list, else none."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
