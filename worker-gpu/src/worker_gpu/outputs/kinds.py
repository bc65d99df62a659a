"""What kind of thing a file is: by its first bytes, then by its extension."""

from dataclasses import dataclass

from worker_gpu.contract import OutputType

HEAD_BYTES = 4096
"""How much of a file is looked at; the farthest mark read here is the DocType of a Matroska header."""


@dataclass(frozen=True)
class Kind:
    """Type of an output and its media type."""

    type: OutputType
    content_type: str


TEXT = Kind("text", "text/plain; charset=utf-8")
UNKNOWN = Kind("file", "application/octet-stream")

_BY_EXTENSION: dict[str, Kind] = {
    "png": Kind("image", "image/png"),
    "apng": Kind("image", "image/apng"),
    "jpg": Kind("image", "image/jpeg"),
    "jpeg": Kind("image", "image/jpeg"),
    "webp": Kind("image", "image/webp"),
    "gif": Kind("image", "image/gif"),
    "bmp": Kind("image", "image/bmp"),
    "tif": Kind("image", "image/tiff"),
    "tiff": Kind("image", "image/tiff"),
    "avif": Kind("image", "image/avif"),
    "heic": Kind("image", "image/heic"),
    "jxl": Kind("image", "image/jxl"),
    "svg": Kind("image", "image/svg+xml"),
    "exr": Kind("image", "image/x-exr"),
    "hdr": Kind("image", "image/vnd.radiance"),
    "psd": Kind("image", "image/vnd.adobe.photoshop"),
    "mp4": Kind("video", "video/mp4"),
    "m4v": Kind("video", "video/mp4"),
    "mov": Kind("video", "video/quicktime"),
    "webm": Kind("video", "video/webm"),
    "mkv": Kind("video", "video/x-matroska"),
    "avi": Kind("video", "video/x-msvideo"),
    "ogv": Kind("video", "video/ogg"),
    "flac": Kind("audio", "audio/flac"),
    "wav": Kind("audio", "audio/wav"),
    "mp3": Kind("audio", "audio/mpeg"),
    "opus": Kind("audio", "audio/ogg"),
    "ogg": Kind("audio", "audio/ogg"),
    "m4a": Kind("audio", "audio/mp4"),
    "aac": Kind("audio", "audio/aac"),
    "glb": Kind("3d", "model/gltf-binary"),
    "gltf": Kind("3d", "model/gltf+json"),
    "obj": Kind("3d", "model/obj"),
    "mtl": Kind("3d", "model/mtl"),
    "stl": Kind("3d", "model/stl"),
    "fbx": Kind("3d", "application/octet-stream"),
    "usdz": Kind("3d", "model/vnd.usdz+zip"),
    "ply": Kind("3d", "application/octet-stream"),
    "splat": Kind("3d", "application/octet-stream"),
    "spz": Kind("3d", "application/octet-stream"),
    "ksplat": Kind("3d", "application/octet-stream"),
    "latent": Kind("latent", "application/octet-stream"),
    "txt": TEXT,
    "md": Kind("text", "text/markdown; charset=utf-8"),
    "csv": Kind("text", "text/csv; charset=utf-8"),
    "srt": Kind("text", "application/x-subrip"),
    "vtt": Kind("text", "text/vtt; charset=utf-8"),
    "json": Kind("text", "application/json"),
    "zip": Kind("file", "application/zip"),
    "pdf": Kind("file", "application/pdf"),
    "npy": Kind("file", "application/octet-stream"),
    "npz": Kind("file", "application/octet-stream"),
    "safetensors": Kind("file", "application/octet-stream"),
    "ckpt": Kind("file", "application/octet-stream"),
    "pt": Kind("file", "application/octet-stream"),
}

_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", _BY_EXTENSION["png"]),
    (b"\xff\xd8\xff", _BY_EXTENSION["jpg"]),
    (b"GIF87a", _BY_EXTENSION["gif"]),
    (b"GIF89a", _BY_EXTENSION["gif"]),
    (b"BM", _BY_EXTENSION["bmp"]),
    (b"II*\x00", _BY_EXTENSION["tiff"]),
    (b"MM\x00*", _BY_EXTENSION["tiff"]),
    (b"\x76\x2f\x31\x01", _BY_EXTENSION["exr"]),
    (b"8BPS", _BY_EXTENSION["psd"]),
    (b"#?RADIANCE", _BY_EXTENSION["hdr"]),
    (b"fLaC", _BY_EXTENSION["flac"]),
    (b"ID3", _BY_EXTENSION["mp3"]),
    (b"glTF", _BY_EXTENSION["glb"]),
    (b"ply\n", _BY_EXTENSION["ply"]),
    (b"ply\r\n", _BY_EXTENSION["ply"]),
    (b"Kaydara FBX Binary", _BY_EXTENSION["fbx"]),
    (b"%PDF-", _BY_EXTENSION["pdf"]),
)
_BRANDS: dict[bytes, Kind] = {
    b"avif": _BY_EXTENSION["avif"],
    b"avis": _BY_EXTENSION["avif"],
    b"heic": _BY_EXTENSION["heic"],
    b"heix": _BY_EXTENSION["heic"],
    b"qt  ": _BY_EXTENSION["mov"],
    b"M4A ": _BY_EXTENSION["m4a"],
}


def kind_of(head: bytes, name: str) -> Kind:
    """The kind of a file called `name` that begins with `head` (its first HEAD_BYTES)."""
    return _by_content(head, name) or _by_extension(name) or UNKNOWN


def content_type_of(name: str) -> str | None:
    """The media type that a file name promises; None for an extension that is not known."""
    kind = _by_extension(name)
    return kind.content_type if kind is not None else None


def _by_extension(name: str) -> Kind | None:
    _, dot, extension = name.rpartition(".")
    return _BY_EXTENSION.get(extension.lower()) if dot else None


def _by_content(head: bytes, name: str) -> Kind | None:
    if head[:4] == b"RIFF":
        return {b"WEBP": _BY_EXTENSION["webp"], b"WAVE": _BY_EXTENSION["wav"], b"AVI ": _BY_EXTENSION["avi"]}.get(
            head[8:12]
        )
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], _BY_EXTENSION["mp4"])
    if head[:4] == b"\x1aE\xdf\xa3":
        return _BY_EXTENSION["webm" if b"webm" in head else "mkv"]
    if head[:4] == b"OggS":
        return _BY_EXTENSION["ogv" if b"theora" in head else "ogg"]
    if head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        return _BY_EXTENSION["mp3"]
    for start, kind in _STARTS:
        if head.startswith(start):
            return _BY_EXTENSION["apng"] if start[1:4] == b"PNG" and name.lower().endswith(".apng") else kind
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"<svg") or (begin.startswith(b"<?xml") and b"<svg" in head):
        return _BY_EXTENSION["svg"]
    return None
