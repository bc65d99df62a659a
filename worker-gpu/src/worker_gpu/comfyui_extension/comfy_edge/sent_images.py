"""Images that a node sends over the WebSocket as its output: stored as files, because a connection may break."""

import re
from pathlib import Path
from typing import Any

SENDERS = frozenset({"SaveImageWebsocket", "ETN_SendImageWebSocket"})
"""Classes whose images are outputs. Any other image on the WebSocket is a preview."""
COMPRESSION = 4
"""Compression level of PNG, as in ComfyUI's SaveImage."""

_EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class SentImages:
    """Writes images to `folder`: `<node>.png`, then `<node>_2.png`, like the names of texts."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._counts: dict[str, int] = {}
        self._last: Any = None

    def save(self, node: str, image_format: str, image: Any) -> None:
        """Write one Pillow image. ComfyUI may send the same object twice, in two kinds of messages."""
        if image is self._last:
            return
        self._last = image
        count = self._counts[node] = self._counts.get(node, 0) + 1
        stem = _UNSAFE.sub("_", node).strip(".") or "image"
        name = stem if count == 1 else f"{stem}_{count}"
        image_format = image_format if image_format in _EXTENSIONS else "PNG"
        path = Path(self._folder) / f"{name}.{_EXTENSIONS[image_format]}"
        image.save(path, format=image_format, compress_level=COMPRESSION, quality=95)
