"""The request that the worker sends with a prompt: `extra_data.comfy_edge` (docs/reference/worker.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

FIELD = "comfy_edge"
"""The name of the field in `extra_data`, in a history entry, and in `/features`."""
PROTOCOL = 1
"""The version in `/features`. It increases with a change that older workers would misread."""


@dataclass(frozen=True)
class Request:
    """Prompts of one `scope` may share cached results. `inputs` are the digests of the input files by their names in
    the workflow. The folders exist and belong to the prompt alone; `scratch` is for temporary files of the system."""

    scope: str
    input: str
    output: str
    temp: str
    scratch: str
    inputs: "Mapping[str, str]"


def read_request(extra_data: "Mapping[str, Any]") -> "Request | None":
    """The request of a prompt; None if it has none. Raises `KeyError`, `TypeError` if it is malformed."""
    given = extra_data.get(FIELD)
    if given is None:
        return None
    folders = given["folders"]
    return Request(
        given["scope"],
        folders["input"],
        folders["output"],
        folders["temp"],
        folders["scratch"],
        dict(given["inputs"]),
    )
