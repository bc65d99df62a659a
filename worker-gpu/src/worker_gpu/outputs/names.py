"""Names of outputs: the path in ComfyUI's folder, safe and unique in the job."""

import hashlib
import re

from worker_gpu.outputs.history_outputs import FileRef, ImageRef, TextRef
from worker_gpu.wire.contract import MAX_NAME_BYTES

TEMP_FOLDER = "temp"

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\\\ud800-\udfff]")
"""Characters that end a line (control characters, U+2028, U+2029) or change the direction of text, backslashes, and
lone surrogates, which UTF-8 cannot encode."""


class Names:
    """The names in one job. Each output has its own name, and the same output always gets the same name. `below` is the
    prefix of the job's files if jobs share ComfyUI's folders."""

    def __init__(self, below: str = "") -> None:
        self._below = below
        self._given: dict[str, tuple[str, str]] = {}

    def of_file(self, ref: FileRef, temp: bool) -> str:
        """The name of a file: its path without `below`. The name of a temp file starts with `temp/`."""
        path = ref.path
        clean = _UNSAFE.sub("_", path.removeprefix(self._below))
        parts = [part for part in clean.split("/") if part not in ("", ".", "..")]
        plain = "/".join(parts) or "file"
        if temp:
            plain = f"{TEMP_FOLDER}/{plain}"
        return self._unique(plain, (ref.folder, path))

    def of_text(self, node: str, ref: TextRef) -> str:
        """The name of a text of a node: `2.txt`, then `2_2.txt`, `2_3.txt`."""
        return self._numbered(node, ref.index, "txt")

    def of_image(self, node: str, ref: ImageRef) -> str:
        """The name of an image that a node sent: `2.png`, then `2_2.png`, `2_3.png`."""
        return self._numbered(node, ref.index, ref.extension)

    def _numbered(self, node: str, index: int, extension: str) -> str:
        stem = _UNSAFE.sub("_", node).replace("/", "_").strip(".") or "node"
        name = f"{stem}.{extension}" if index == 0 else f"{stem}_{index + 1}.{extension}"
        return self._unique(name, (extension, f"{node} {index}"))

    def _unique(self, name: str, owner: tuple[str, str]) -> str:
        """Add a hash of `owner` to a name that is too long or belongs to another output."""
        if len(name.encode()) > MAX_NAME_BYTES or self._given.get(name, owner) != owner:
            mark = hashlib.sha256("\0".join(owner).encode("utf-8", "surrogatepass")).hexdigest()[:8]
            stem, dot, extension = name.rpartition(".")
            if not dot or "/" in extension or len(extension) > 16:
                stem, extension = name, ""
            room = MAX_NAME_BYTES - len(f"-{mark}.{extension}".encode())
            short = stem.encode()[:room].decode("utf-8", "ignore")
            name = f"{short}-{mark}.{extension}" if extension else f"{short}-{mark}"
        self._given[name] = owner
        return name
