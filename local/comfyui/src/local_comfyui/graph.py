"""A prompt as it is executed: nodes by id, in the order they were sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from local_comfyui.json_types import Json, JsonObject


@dataclass(frozen=True)
class Link:
    """The value of output `slot` of node `node`."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """One node; `inputs` holds the values as sent, converted to their types, links as `[node, slot]`."""

    id: str
    class_type: str
    inputs: JsonObject

    def links(self) -> Iterator[tuple[str, Link]]:
        """Connected inputs, in order."""
        for name, value in self.inputs.items():
            link = as_link(value)
            if link is not None:
                yield name, link


Graph: TypeAlias = dict[str, Node]


def as_link(value: Json) -> Link | None:
    """The link that an input's value is, or None for a plain value or a malformed link."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    if isinstance(node, str) and isinstance(slot, int) and not isinstance(slot, bool):
        return Link(node, slot)
    return None
