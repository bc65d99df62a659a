"""Content types by file name: the same on every machine, independent of its own list of types."""

import mimetypes

_TYPES = mimetypes.MimeTypes()
for _extension, _type in {
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".flac": "audio/flac",
    ".opus": "audio/ogg",
    ".ogg": "audio/ogg",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".md": "text/markdown",
}.items():
    _TYPES.add_type(_type, _extension)


def content_type(name: str) -> str:
    """Content type of a file with this name; `application/octet-stream` when unknown."""
    return _TYPES.guess_type(name)[0] or "application/octet-stream"


def is_any_of(name: str, kinds: tuple[str, ...]) -> bool:
    """True when the main type (`image`, `video`, `audio`) of a file with this name is one of `kinds`."""
    return content_type(name).split("/")[0] in kinds
