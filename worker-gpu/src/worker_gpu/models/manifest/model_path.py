"""What a model may be called: where a file may be put below the models folder."""

from pathlib import PurePosixPath

from worker_gpu.shape import ShapeError

MAX_PATH_BYTES = 900
"""R2's keys have up to 1,024 bytes (reference/gpu-worker.md 1.3); the rest is for a prefix."""
PLAIN_SUFFIXES = frozenset({".safetensors", ".sft", ".gguf", ".json", ".yaml", ".txt"})
"""Formats that hold data only. Others (pickles) can run code when a custom node loads them, so the manifest must allow
each of them by name (reference/gpu-worker.md section 4)."""
CODE_FOLDERS = frozenset({"custom_nodes"})
"""Categories whose files ComfyUI imports and runs. Nodes come with the image, by its nodes.lock; never as models."""


def check_path(path: str, allow_unsafe: bool) -> str:
    """`path` if a model may be called so. Raises `ShapeError`."""
    parts = path.split("/")
    if len(parts) < 2:
        raise ShapeError("path: must be <category>/<file>")
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES or not path.isprintable() or "\\" in path:
        raise ShapeError("path: too long, or holds a backslash or an unprintable character")
    # A leading dot is this program's own (.sync), hidden to ComfyUI, or a way out (..).
    if any(not part or part.startswith(".") or part != part.strip() for part in parts):
        raise ShapeError("path: no part of it may be empty, begin with a dot or be padded")
    if parts[0].casefold() in CODE_FOLDERS:
        raise ShapeError(f"path: ComfyUI runs what is in {parts[0]}; nodes come with the image")
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in PLAIN_SUFFIXES and not allow_unsafe:
        raise ShapeError(f'path: {suffix or "no suffix"} can hold code; "allow_unsafe": true takes it all the same')
    return path
