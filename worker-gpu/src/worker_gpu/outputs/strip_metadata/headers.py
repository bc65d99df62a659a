"""glTF binary, safetensors (latents too), EXR and SVG: the graph's entries of their headers go."""

import re
from typing import BinaryIO

from worker_gpu.outputs.strip_metadata.edits import MAX_HEADER_BYTES, Edit, Malformed, number, read_at
from worker_gpu.shape import JsonObject, ShapeError, decode, encode, maybe_object

GRAPH_KEYS = frozenset({"prompt", "workflow", "parameters"})
"""What ComfyUI and its nodes call the graph and what was made of it."""
GLB_JSON = 0x4E4F534A
SVG_METADATA = re.compile(rb"<metadata\b")
SVG_METADATA_END = re.compile(rb"</metadata\s*>\s*")


def glb(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`. Of the part of JSON, which keeps its length, `asset.extras` goes."""
    del size
    length, kind = number(file, 12, "<I"), number(file, 16, "<I")
    if kind != GLB_JSON:
        raise Malformed("the first part is no JSON")
    scene = _json(read_at(file, 20, length))
    asset = maybe_object(scene.get("asset"))
    if "extras" not in asset:
        return []
    scene["asset"] = {name: value for name, value in asset.items() if name != "extras"}
    return [Edit(20, length, _padded(scene, length))]


def safetensors(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`. The header keeps its length, and the rest of its metadata."""
    length = number(file, 0, "<Q")
    if length > min(size - 8, MAX_HEADER_BYTES):
        raise Malformed("a header of that length")
    header = _json(read_at(file, 8, length))
    metadata = maybe_object(header.get("__metadata__"))
    if not GRAPH_KEYS & metadata.keys():
        return []
    header["__metadata__"] = {name: value for name, value in metadata.items() if name not in GRAPH_KEYS}
    return [Edit(8, length, _padded(header, length))]


def exr(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`. The attributes stay, filled with spaces: tables in the file count from its begin."""
    edits: list[Edit] = []
    at = 8
    while at < size:
        name, at = _word(file, at)
        if not name:
            break
        kind, at = _word(file, at)
        length = number(file, at, "<i")
        at += 4
        if length < 0 or at + length > size:
            raise Malformed("an attribute goes beyond the end")
        if kind == b"string" and name.decode("latin-1") in GRAPH_KEYS:
            edits.append(Edit(at, length, b" " * length))
        at += length
    return edits


def svg(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`."""
    text = read_at(file, 0, size)
    edits: list[Edit] = []
    # Step by step, and not by one pattern: that would look for the end of each that has none, through the whole file.
    begin = SVG_METADATA.search(text)
    while begin is not None and (end := SVG_METADATA_END.search(text, begin.end())) is not None:
        edits.append(Edit(begin.start(), end.end() - begin.start()))
        begin = SVG_METADATA.search(text, end.end())
    return edits


def _json(raw: bytes) -> JsonObject:
    try:
        return maybe_object(decode(raw))
    except ShapeError as error:
        raise Malformed("a header that is no JSON") from error


def _padded(value: JsonObject, length: int) -> bytes:
    text = encode(value).encode()
    if len(text) > length:
        raise Malformed("a header that grows")
    return text + b" " * (length - len(text))


def _word(file: BinaryIO, at: int) -> tuple[bytes, int]:
    """A text up to its zero byte, and where the next begins."""
    file.seek(at)
    raw, zero, _ = file.read(256).partition(b"\0")
    if not zero:
        raise Malformed("a name without an end")
    return raw, at + len(raw) + 1
