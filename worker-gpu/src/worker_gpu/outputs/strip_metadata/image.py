"""PNG and WebP: chunks of text and EXIF are removed, every chunk that makes the image stays."""

from typing import BinaryIO

from worker_gpu.outputs.strip_metadata.edits import Edit, Malformed, number, read_at

PNG_METADATA = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"comf"})
"""ComfyUI writes `comf` into animated PNG."""
WEBP_METADATA = frozenset({b"EXIF", b"XMP "})
WEBP_METADATA_FLAGS = 0x08 | 0x04
"""The flags of VP8X for EXIF and XMP (developers.google.com/speed/webp/docs/riff_container)."""


def png(file: BinaryIO, size: int) -> list[Edit]:
    """See `FindEdits`."""
    edits: list[Edit] = []
    at = 8
    while at < size:
        length, kind = number(file, at, ">I"), read_at(file, at + 4, 4)
        if at + 12 + length > size:
            raise Malformed("a chunk is longer than the file")
        if kind in PNG_METADATA:
            edits.append(Edit(at, 12 + length))
        at += 12 + length
    return edits


def webp(file: BinaryIO, size: int) -> list[Edit]:
    """See `FindEdits`."""
    end = min(size, 8 + number(file, 4, "<I"))
    edits: list[Edit] = []
    at = 12
    while at + 8 <= end:
        kind, length = read_at(file, at, 4), number(file, at + 4, "<I")
        whole = min(8 + length + length % 2, end - at)
        if kind == b"VP8X":
            flags = number(file, at + 8, "B")
            edits.append(Edit(at + 8, 1, bytes([flags & ~WEBP_METADATA_FLAGS])))
        elif kind in WEBP_METADATA:
            edits.append(Edit(at, whole))
        at += whole
    removed = sum(edit.length - len(edit.put) for edit in edits)
    if removed == 0:
        return []
    return [Edit(4, 4, (end - 8 - removed).to_bytes(4, "little")), *edits]
