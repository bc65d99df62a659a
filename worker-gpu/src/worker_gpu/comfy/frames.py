"""ComfyUI's binary socket frames: a big-endian type, then a preview image or a progress text."""

import struct
from dataclasses import dataclass

from worker_gpu.json_readers import ShapeError, decode, maybe_object, maybe_text

PREVIEW = 1
PREVIEW_WITH_METADATA = 4
"""Sent only to a client whose first message was FEATURE_FLAGS (reference/comfyui.md section 4)."""
FEATURE_FLAGS = '{"type":"feature_flags","data":{"supports_preview_metadata":true}}'

_FORMATS = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True)
class PreviewFrame:
    """A picture of a node at work. `node` and `prompt_id` are None where the frame does not name them."""

    content_type: str
    image: bytes
    node: str | None = None
    prompt_id: str | None = None


def parse_frame(frame: bytes) -> PreviewFrame | None:
    """The preview in a binary frame; None for any other type and for a frame cut short."""
    kind = _number(frame, 0)
    if kind == PREVIEW:
        content_type = _FORMATS.get(_number(frame, 4) or 0)
        image = frame[8:]
        return PreviewFrame(content_type, image) if content_type and image else None
    if kind == PREVIEW_WITH_METADATA:
        return _with_metadata(frame)
    return None


def _with_metadata(frame: bytes) -> PreviewFrame | None:
    length = _number(frame, 4)
    if length is None or len(frame) < 8 + length:
        return None
    try:
        about = maybe_object(decode(frame[8 : 8 + length]))
    except ShapeError:
        return None
    content_type, image = maybe_text(about.get("image_type")), frame[8 + length :]
    if content_type is None or content_type not in _FORMATS.values() or not image:
        return None
    shown = maybe_text(about.get("display_node_id")) or maybe_text(about.get("node_id"))
    return PreviewFrame(content_type, image, shown, maybe_text(about.get("prompt_id")))


def _number(frame: bytes, at: int) -> int | None:
    if len(frame) < at + 4:
        return None
    (value,) = struct.unpack_from(">I", frame, at)
    return int(value)
