"""Pictures that a node sends over the socket as its result: kept as files of the prompt, since a socket may break."""

import re
from pathlib import Path
from typing import Any

SENDERS = frozenset({"SaveImageWebsocket", "ETN_SendImageWebSocket"})
"""Classes whose pictures are results. Every other picture on the socket is a preview."""
COMPRESSION = 4
"""Of PNG: what ComfyUI's own SaveImage uses."""

_EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class SentPictures:
    """Writes to `folder`: `<node>.png`, then `<node>_2.png`, as the worker names texts."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._counts: dict[str, int] = {}
        self._last: Any = None

    def keep(self, node: str, form: str, picture: Any) -> None:
        """Write one picture (Pillow's). The same object again is the same picture, told in another way."""
        if picture is self._last:
            return
        self._last = picture
        count = self._counts[node] = self._counts.get(node, 0) + 1
        stem = _UNSAFE.sub("_", node).strip(".") or "picture"
        name = stem if count == 1 else f"{stem}_{count}"
        form = form if form in _EXTENSIONS else "PNG"
        path = Path(self._folder) / f"{name}.{_EXTENSIONS[form]}"
        picture.save(path, format=form, compress_level=COMPRESSION, quality=95)
