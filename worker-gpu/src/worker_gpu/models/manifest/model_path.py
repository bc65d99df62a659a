"""Which paths below the models folder are valid for a model file."""

from pathlib import PurePosixPath

from worker_gpu.json_readers import ShapeError

MAX_PATH_BYTES = 900
"""R2's keys have up to 1,024 bytes (reference/gpu-worker.md section 1.3). The rest is for a prefix."""
PLAIN_SUFFIXES = frozenset({".safetensors", ".sft", ".gguf", ".json", ".yaml", ".txt"})
"""Formats that contain only data. Others (pickles) can run code when a custom node loads them, so the manifest must
allow each such file (reference/gpu-worker.md section 4)."""
CODE_FOLDERS = frozenset({"custom_nodes"})
"""Folders from which ComfyUI imports code. Nodes come with the image (nodes.lock), never as models."""


def check_path(path: str, allow_unsafe: bool) -> str:
    """Return `path` if it is valid for a model. Raises `ShapeError`."""
    parts = path.split("/")
    if len(parts) < 2:
        raise ShapeError("path: must be <category>/<file>")
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES or not path.isprintable() or "\\" in path:
        raise ShapeError(f"path: must have at most {MAX_PATH_BYTES} bytes, all printable, and no backslash")
    # A leading dot is the worker's own folder (.sync), a file that ComfyUI does not list, or a way out (..).
    if any(not part or part.startswith(".") or part != part.strip() for part in parts):
        raise ShapeError("path: a part must not be empty, begin with a dot, or begin or end with a space")
    if parts[0].casefold() in CODE_FOLDERS:
        raise ShapeError(f"path: ComfyUI runs code in {parts[0]}; put custom nodes into the image")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in PLAIN_SUFFIXES and not allow_unsafe:
        raise ShapeError(
            f'path: files with {suffix or "no suffix"} can contain code; set "allow_unsafe": true to accept this one'
        )
    return path
