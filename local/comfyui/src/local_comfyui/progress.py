"""How far the nodes of the running prompt are, and the messages that say so."""

import io
import json
import struct
from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import ImageOps

from local_comfyui.json_types import Json, JsonObject
from local_comfyui.nodes.registry import Preview

PREVIEW_IMAGE = 1
TEXT = 3
PREVIEW_IMAGE_WITH_METADATA = 4
"""Kinds of binary messages: the big-endian 32-bit number each begins with."""

JPEG, PNG = 1, 2
"""Picture formats within a message of kind 1."""

PREVIEW_QUALITY = 95


class Channel(Protocol):
    """The way to the clients, from the executing thread. `client` None means everyone."""

    def send(self, event: str, data: JsonObject, client: str | None) -> None:
        """Send a JSON message."""
        ...

    def send_bytes(self, message: bytes, client: str | None) -> None:
        """Send a binary message."""
        ...

    def wants_preview_metadata(self, client: str | None) -> bool:
        """True when the client said so in its first message."""
        ...


@dataclass
class _State:
    value: float = 0
    max: float = 1
    state: Literal["running", "finished"] = "running"


class Progress:
    """The states of one prompt's nodes; every change is sent as `progress_state`."""

    def __init__(self, prompt_id: str, client: str | None, channel: Channel) -> None:
        self._prompt_id, self._client, self._channel = prompt_id, client, channel
        self._states: dict[str, _State] = {}

    def start(self, node: str) -> None:
        """A node begins."""
        self._states[node] = _State(0.0, 1.0)
        self._send_states()

    def update(self, node: str, value: float, maximum: float, preview: Preview | None) -> None:
        """A running node got this far; a preview goes out before or after `progress`, by its kind."""
        self._states[node] = _State(value, maximum)
        self._send_states()
        with_metadata = self._channel.wants_preview_metadata(self._client)
        if preview is not None and with_metadata:
            self._channel.send_bytes(self._preview_with_metadata(node, preview), self._client)
        data: JsonObject = {"value": value, "max": maximum, "prompt_id": self._prompt_id, "node": node}
        self._channel.send("progress", data, self._client)
        if preview is not None and not with_metadata:
            self._channel.send_bytes(preview_message(preview), self._client)

    def finish(self, node: str) -> None:
        """A node is done, or was known already."""
        state = self._states.setdefault(node, _State())
        state.value, state.state = state.max, "finished"
        self._send_states()

    def show_text(self, node: str, text: str) -> None:
        """A line of text for a node; ComfyUI sends these to everyone."""
        name = node.encode()
        self._channel.send_bytes(struct.pack(">II", TEXT, len(name)) + name + text.encode(), None)

    def _send_states(self) -> None:
        nodes: dict[str, Json] = {
            node: {
                "value": state.value,
                "max": state.max,
                "state": state.state,
                "node_id": node,
                "prompt_id": self._prompt_id,
                "display_node_id": node,
                "parent_node_id": None,
                "real_node_id": node,
            }
            for node, state in self._states.items()
        }
        self._channel.send("progress_state", {"prompt_id": self._prompt_id, "nodes": nodes}, self._client)

    def _preview_with_metadata(self, node: str, preview: Preview) -> bytes:
        metadata = json.dumps(
            {
                "node_id": node,
                "prompt_id": self._prompt_id,
                "display_node_id": node,
                "parent_node_id": None,
                "real_node_id": node,
                "image_type": "image/png" if preview.format == "PNG" else "image/jpeg",
            }
        ).encode()
        return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(metadata)) + metadata + _encoded(preview)


def preview_message(preview: Preview) -> bytes:
    """Binary message of kind 1."""
    return struct.pack(">II", PREVIEW_IMAGE, PNG if preview.format == "PNG" else JPEG) + _encoded(preview)


def _encoded(preview: Preview) -> bytes:
    size = preview.max_size
    # It also enlarges, as ComfyUI does.
    fitted = preview.image if size is None else ImageOps.contain(preview.image, (size, size))
    buffer = io.BytesIO()
    fitted.save(buffer, format=preview.format, quality=PREVIEW_QUALITY, compress_level=1)
    return buffer.getvalue()
