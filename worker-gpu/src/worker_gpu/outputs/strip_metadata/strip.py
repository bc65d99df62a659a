"""Removes the workflow from a file of a type that ComfyUI's own savers write, and says what became of it."""

from enum import Enum
from pathlib import Path

from worker_gpu.outputs.kinds import HEAD_BYTES, kind_of
from worker_gpu.outputs.strip_metadata import audio, image, video
from worker_gpu.outputs.strip_metadata.edits import FindEdits, Malformed, apply

_BY_CONTENT_TYPE: dict[str, FindEdits] = {
    "image/png": image.png,
    "image/apng": image.png,
    "image/webp": image.webp,
    "video/mp4": video.mp4,
    "video/webm": video.webm,
    "audio/flac": audio.flac,
    "audio/mpeg": audio.mp3,
}


class StripResult(Enum):
    """What became of the metadata of a file."""

    REMOVED = "removed"
    NONE_FOUND = "none found"
    NOT_SUPPORTED = "not supported"
    """ComfyUI's own savers do not write files of this type."""
    DAMAGED = "damaged"
    """The rest of the file is not in the format that its first bytes name."""


def strip(path: Path, name: str) -> StripResult:
    """Remove the workflow from the file at `path`, whose name in the job is `name`. A file that is damaged or of a type
    that is not supported stays as it is. Blocks. Raises `OSError`."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        kind = kind_of(head, name)
        if kind.type == "text":
            # A text has no place for metadata: all of it is what the node wrote.
            return StripResult.NONE_FOUND
        find_edits = _BY_CONTENT_TYPE.get(kind.content_type)
        if audio.is_opus(head):
            find_edits = audio.opus
        if find_edits is None:
            return StripResult.NOT_SUPPORTED
        try:
            edits = find_edits(file, path.stat().st_size)
        except Malformed:
            return StripResult.DAMAGED
    if not edits:
        return StripResult.NONE_FOUND
    apply(path, edits)
    return StripResult.REMOVED
