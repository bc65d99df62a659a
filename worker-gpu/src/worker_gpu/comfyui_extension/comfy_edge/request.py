"""What the worker asks for with a prompt: `extra_data.comfy_edge` (docs/reference/worker.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

FIELD = "comfy_edge"
"""Of `extra_data`, of a history entry, and of `/features`."""
PROTOCOL = 1
"""What `/features` says under `FIELD`: raised when a worker would misread the answer."""


@dataclass(frozen=True)
class Request:
    """`scope`: prompts of one scope may share what ComfyUI computed. `inputs`: digest of each input file by the name
    that the graph calls it. The folders exist and are the prompt's own; `scratch` is for temporary files of the
    system's kind."""

    scope: str
    input: str
    output: str
    temp: str
    scratch: str
    inputs: "Mapping[str, str]"


def read_request(extra_data: "Mapping[str, Any]") -> "Request | None":
    """The request of a prompt; None for a prompt without one. Raises `KeyError`, `TypeError` for a malformed one."""
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
