"""The type of a file, by its first bytes and then by its extension."""

from dataclasses import dataclass

from worker_gpu.wire.contract import OutputType

HEAD_BYTES = 4096
"""How much of a file is read. The DocType of a Matroska header is the farthest mark."""


@dataclass(frozen=True)
class Kind:
    """The type of an output and its media type."""

    type: OutputType
    content_type: str


TEXT = Kind("text", "text/plain; charset=utf-8")
JSON = Kind("text", "application/json")
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
    "json": JSON,
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
    (b"GIF87a", _BY_EXTENSION["gif"]),
    (b"GIF89a", _BY_EXTENSION["gif"]),
    (b"II*\x00", _BY_EXTENSION["tiff"]),
    (b"MM\x00*", _BY_EXTENSION["tiff"]),
    (b"\x76\x2f\x31\x01", _BY_EXTENSION["exr"]),
    (b"8BPS", _BY_EXTENSION["psd"]),
    (b"#?RADIANCE", _BY_EXTENSION["hdr"]),
    (b"fLaC", _BY_EXTENSION["flac"]),
    (b"glTF", _BY_EXTENSION["glb"]),
    (b"ply\n", _BY_EXTENSION["ply"]),
    (b"ply\r\n", _BY_EXTENSION["ply"]),
    (b"Kaydara FBX Binary", _BY_EXTENSION["fbx"]),
    (b"%PDF-", _BY_EXTENSION["pdf"]),
)
_WITH_HEADER_LENGTH = frozenset({"latent", "safetensors", "sft"})
"""Safetensors start with a length of eight bytes, which can look like any signature, then a JSON object."""
_MP3_SYNC = (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
_DIB_HEADER_BYTES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
"""Known sizes of the second header of a bitmap (BITMAPCOREHEADER to BITMAPV5HEADER)."""
_TEXT_CONTROLS = b"\t\n\r\f\x1b"
_BRANDS: dict[bytes, Kind] = {
    b"avif": _BY_EXTENSION["avif"],
    b"avis": _BY_EXTENSION["avif"],
    b"heic": _BY_EXTENSION["heic"],
    b"heix": _BY_EXTENSION["heic"],
    b"qt  ": _BY_EXTENSION["mov"],
    b"M4A ": _BY_EXTENSION["m4a"],
}


def kind_of(head: bytes, name: str) -> Kind:
    """The type of the file `name` whose first HEAD_BYTES are `head`."""
    return _by_content(head, name) or _by_extension(name) or UNKNOWN


def content_type_of(name: str) -> str | None:
    """The media type by the extension of `name`; None for an unknown extension."""
    kind = _by_extension(name)
    return kind.content_type if kind is not None else None


def _by_extension(name: str) -> Kind | None:
    return _BY_EXTENSION.get(_extension(name))


def _extension(name: str) -> str:
    _, dot, extension = name.rpartition(".")
    return extension.lower() if dot else ""


def _by_content(head: bytes, name: str) -> Kind | None:
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"<svg") or (begin.startswith(b"<?xml") and b"<svg" in head):
        return _BY_EXTENSION["svg"]
    by_name = _by_extension(name)
    if by_name is not None and by_name.type == "text" and _is_text(head):
        # Most signatures are words: a note about glTF is not a model.
        return None
    if _extension(name) in _WITH_HEADER_LENGTH and head[4:9] == b"\0\0\0\0{":
        return None
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
    if head.startswith(_MP3_SYNC) and (by_name is None or by_name.type == "audio"):
        return _BY_EXTENSION["mp3"]
    if _is_id3(head):
        return _BY_EXTENSION["mp3"]
    if _is_jpeg(head):
        return _BY_EXTENSION["jpg"]
    if _is_bitmap(head):
        return _BY_EXTENSION["bmp"]
    for start, kind in _STARTS:
        if head.startswith(start):
            return _BY_EXTENSION["apng"] if start[1:4] == b"PNG" and name.lower().endswith(".apng") else kind
    return None


def _is_text(head: bytes) -> bool:
    """Whether `head` is UTF-8 without control characters. The last character may be incomplete."""
    if any(byte < 32 and byte not in _TEXT_CONTROLS for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True


def _is_id3(head: bytes) -> bool:
    """Version 2.2 to 2.4, no undefined flag, a size of four seven-bit bytes (id3.org, id3v2.4.0-structure)."""
    known = 2 <= _at(head, 3) <= 4 and _at(head, 5) & 0x0F == 0
    return head[:3] == b"ID3" and known and max(head[6:10], default=0) < 128


def _is_jpeg(head: bytes) -> bool:
    """Start of image, and the code of another marker (ITU-T T.81, table B.1)."""
    return head[:3] == b"\xff\xd8\xff" and _at(head, 3) >= 0xC0


def _is_bitmap(head: bytes) -> bool:
    """Four reserved zero bytes, and a second header of a known size."""
    return head[:2] == b"BM" and head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _DIB_HEADER_BYTES


def _at(head: bytes, index: int) -> int:
    return head[index] if index < len(head) else 0
