"""The recordings, and what is taken out of them before they are compared.

Prompt and client ids need nothing: the replay sends the recorded ones. Numbers, cached nodes and file counters need
nothing either: the replay first brings the server into the state the recorded one was in. What remains:

- `timestamp` (must be a whole number of milliseconds), `t`;
- `traceback` (must be a list of texts, not empty);
- the order of `current_outputs` and of a queue's outputs, which comes from a Python set there;
- five random letters in the names of temporary files;
- the bytes of a preview picture: its kind, size and colour (within 2 of 255) are compared instead.
"""

import base64
import io
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from local_comfyui.json_types import Json, JsonObject, as_object, parse_json
from tests.server import Message

RECORDED = Path(__file__).resolve().parents[3] / "test" / "fixtures" / "comfyui" / "0.3.64"

TEMP_NAME = re.compile(r"ComfyUI_temp_[a-z]{5}_")


def recording(name: str) -> JsonObject:
    """One recorded file."""
    return as_object(parse_json((RECORDED / f"{name}.json").read_bytes()))


def recorded_messages(value: Json) -> list[Message]:
    """A recorded socket's messages."""
    found: list[Message] = []
    for raw in value if isinstance(value, list) else []:
        message = as_object(raw)
        found.append(base64.b64decode(str(message["binary"])) if "binary" in message else as_object(message["text"]))
    return found


def plain(value: Json) -> Json:
    """A JSON value without what no two runs share."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return TEMP_NAME.sub("ComfyUI_temp_xxxxx_", value)
    if not isinstance(value, dict):
        return value
    cleaned: JsonObject = {}
    for key, item in value.items():
        if key == "timestamp":
            assert isinstance(item, int)
            cleaned[key] = "a time"
        elif key == "traceback":
            assert isinstance(item, list) and item and all(isinstance(line, str) for line in item)
            cleaned[key] = "a traceback"
        elif key == "current_outputs":
            assert isinstance(item, list)
            cleaned[key] = sorted(item, key=str)
        else:
            cleaned[key] = plain(item)
    return cleaned


def saved_files(value: Json) -> Iterator[tuple[str, str]]:
    """Subfolder and name of every output file that a recording mentions, in order."""
    if isinstance(value, dict):
        if value.get("type") == "output" and "filename" in value:
            yield str(value["subfolder"]), str(value["filename"])
        for item in value.values():
            yield from saved_files(item)
    elif isinstance(value, list):
        for item in value:
            yield from saved_files(item)


def make_room(folder: Path, recorded: Json) -> None:
    """Let the next number of every prefix be the first one recorded."""
    seen: set[tuple[str, str]] = set()
    for subfolder, name in saved_files(recorded):
        stem, digits, _ = name.rsplit("_", 2)
        if (subfolder, stem) not in seen and int(digits) > 1:
            (folder / subfolder).mkdir(parents=True, exist_ok=True)
            (folder / subfolder / f"{stem}_{int(digits) - 1:05}_.png").touch()
        seen.add((subfolder, stem))


@dataclass(frozen=True)
class Picture:
    """A preview without its bytes."""

    head: str
    format: str | None
    size: tuple[int, int]
    color: tuple[int, ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Picture):
            return NotImplemented
        near = all(abs(a - b) <= 2 for a, b in zip(self.color, other.color, strict=True))
        return near and (self.head, self.format, self.size) == (other.head, other.format, other.size)


def comparable(message: Message) -> "Json | Picture":
    """A message without what no two runs share."""
    if not isinstance(message, bytes):
        return plain(message)
    (kind,) = struct.unpack_from(">I", message)
    if kind == 1:
        head, body = message[:8].hex(), message[8:]
    else:
        (length,) = struct.unpack_from(">I", message, 4)
        head, body = f"{kind} " + json.dumps(parse_json(message[8 : 8 + length]), sort_keys=True), message[8 + length :]
    with Image.open(io.BytesIO(body)) as image:
        mean = np.asarray(image, dtype=np.float32).mean(axis=(0, 1))
        return Picture(head, image.format, image.size, tuple(round(float(channel)) for channel in mean))
