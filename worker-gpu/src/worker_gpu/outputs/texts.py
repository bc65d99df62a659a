"""Text outputs: measured where they travel inline, written to disk where they go up as a file."""

import hashlib
import json
from collections.abc import Iterable

from worker_gpu.outputs.files import LocalFile
from worker_gpu.outputs.kinds import JSON, TEXT
from worker_gpu.spool import Spool


def measure_text(text: str) -> tuple[int, str, str]:
    """Size in UTF-8, SHA-256, and the text with lone surrogates replaced, which no UTF-8 can hold."""
    raw = text.encode("utf-8", "replace")
    return len(raw), hashlib.sha256(raw).hexdigest(), raw.decode()


def write_text(text: str, spool: Spool) -> LocalFile:
    """`text` as a file in `spool`, named by its hash. Blocks. Raises `OSError`."""
    size, sha256, clean = measure_text(text)
    path = spool.file(f"{sha256}.txt")
    path.write_text(clean, encoding="utf-8", newline="")
    return LocalFile(path, size, sha256, TEXT)


def is_in_one_of(files: Iterable[LocalFile], text: str) -> bool:
    """Whether one of `files` holds `text` and nothing else; JSON may be laid out in another way. Blocks."""
    return any(_holds(file, text) for file in files if file.kind.type == TEXT.type)


def _holds(file: LocalFile, text: str) -> bool:
    try:
        content = file.read().decode("utf-8")
        return content == text or (file.kind == JSON and json.loads(content) == json.loads(text))
    except (OSError, ValueError, RecursionError):
        # Gone, no UTF-8, or no JSON.
        return False
