"""Which kind of file holds the graph where, and the one call that takes it out."""

from pathlib import Path

from worker_gpu.outputs.kinds import HEAD_BYTES, kind_of
from worker_gpu.outputs.strip_metadata import audio, headers, image, video
from worker_gpu.outputs.strip_metadata.edits import Edit, Finder, Malformed, apply

_BY_CONTENT_TYPE: dict[str, Finder] = {
    "image/png": image.png,
    "image/apng": image.png,
    "image/jpeg": image.jpeg,
    "image/webp": image.riff,
    "image/gif": image.gif,
    "image/svg+xml": headers.svg,
    "image/x-exr": headers.exr,
    "video/mp4": video.mp4,
    "video/quicktime": video.mp4,
    "audio/mp4": video.mp4,
    "video/webm": video.matroska,
    "video/x-matroska": video.matroska,
    "audio/flac": audio.flac,
    "audio/mpeg": audio.mp3,
    "audio/ogg": audio.ogg,
    "audio/wav": image.riff,
    "model/gltf-binary": headers.glb,
}
_BY_EXTENSION: dict[str, Finder] = {
    ".latent": headers.safetensors,
    ".safetensors": headers.safetensors,
    ".sft": headers.safetensors,
}


def strip(path: Path, name: str) -> bool:
    """Take the graph out of the file at `path`, which is called `name`; whether there was one. A file of a kind that is
    not known, or that is not what it seems, stays as it is. Blocks. Raises `OSError`."""
    with path.open("rb") as file:
        find = _finder(file.read(HEAD_BYTES), name)
        if find is None:
            return False
        try:
            edits: list[Edit] = find(file, path.stat().st_size)
        except Malformed:
            return False
    if edits:
        apply(path, edits)
    return bool(edits)


def _finder(head: bytes, name: str) -> Finder | None:
    return _BY_EXTENSION.get(Path(name).suffix.lower()) or _BY_CONTENT_TYPE.get(kind_of(head, name).content_type)
