"""Text outputs: short ones are inline, long ones become files."""

import hashlib
import json
from collections.abc import Iterable

from worker_gpu.job.spool import Spool
from worker_gpu.outputs.files import LocalFile
from worker_gpu.outputs.kinds import JSON, TEXT


def measure_text(text: str) -> tuple[int, str, str]:
    """Size in UTF-8, SHA-256, and the text with lone surrogates replaced, because UTF-8 cannot encode them."""
    raw = text.encode("utf-8", "replace")
    return len(raw), hashlib.sha256(raw).hexdigest(), raw.decode()


def write_text(text: str, spool: Spool) -> LocalFile:
    """Write `text` to a file in `spool` named by its hash. Blocks. Raises `OSError`."""
    size, sha256, clean = measure_text(text)
    path = spool.file(f"{sha256}.txt")
    path.write_text(clean, encoding="utf-8", newline="")
    return LocalFile(path, size, sha256, TEXT)


def is_in_one_of(files: Iterable[LocalFile], text: str) -> bool:
    """Whether the content of one of `files` is `text`. JSON may have another layout. Blocks."""
    return any(_holds(file, text) for file in files if file.kind.type == TEXT.type)


def _holds(file: LocalFile, text: str) -> bool:
    try:
        content = file.read().decode("utf-8")
        return content == text or (file.kind == JSON and json.loads(content) == json.loads(text))
    except (OSError, ValueError, RecursionError):
        # The file is missing, or not UTF-8, or not JSON.
        return False
