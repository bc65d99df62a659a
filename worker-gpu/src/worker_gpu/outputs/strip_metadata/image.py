"""PNG, JPEG, GIF and WebP: chunks of text and EXIF go, everything that makes the picture stays."""

from typing import BinaryIO

from worker_gpu.outputs.strip_metadata.edits import Edit, Malformed, number, read_at

PNG_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"comf"})
"""`comf` is ComfyUI's own, in animated PNG."""
JPEG_TEXTS = frozenset({0xE1, 0xED, 0xFE})
"""EXIF and XMP, IPTC, comments. Colour profiles (0xE2) and Adobe's transform (0xEE) stay."""
JPEG_SCAN = 0xDA
RIFF_TEXTS = frozenset({b"EXIF", b"XMP ", b"id3 ", b"ID3 ", b"LIST"})
"""Of WebP the first two, of WAV the others."""
WEBP_TEXT_FLAGS = 0x08 | 0x04
"""In the flags of VP8X: there is EXIF, there is XMP (developers.google.com/speed/webp/docs/riff_container)."""


def png(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`."""
    edits: list[Edit] = []
    at = 8
    while at < size:
        length, kind = number(file, at, ">I"), read_at(file, at + 4, 4)
        if at + 12 + length > size:
            raise Malformed("a chunk goes beyond the end")
        if kind in PNG_TEXTS:
            edits.append(Edit(at, 12 + length))
        at += 12 + length
    return edits


def jpeg(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`."""
    edits: list[Edit] = []
    at = 2
    while at + 4 <= size:
        if number(file, at, "B") != 0xFF:
            raise Malformed("no marker where one must be")
        marker = number(file, at + 1, "B")
        if marker == JPEG_SCAN:
            break
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = number(file, at + 2, ">H")
        if length < 2 or at + 2 + length > size:
            raise Malformed("a segment goes beyond the end")
        if marker in JPEG_TEXTS:
            edits.append(Edit(at, 2 + length))
        at += 2 + length
    return edits


def riff(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`."""
    end = min(size, 8 + number(file, 4, "<I"))
    edits: list[Edit] = []
    at = 12
    while at + 8 <= end:
        kind, length = read_at(file, at, 4), number(file, at + 4, "<I")
        whole = min(8 + length + length % 2, end - at)
        if kind == b"VP8X":
            flags = number(file, at + 8, "B")
            edits.append(Edit(at + 8, 1, bytes([flags & ~WEBP_TEXT_FLAGS])))
        elif kind in RIFF_TEXTS and not (kind == b"LIST" and read_at(file, at + 8, 4) != b"INFO"):
            edits.append(Edit(at, whole))
        at += whole
    gone = sum(edit.length - len(edit.put) for edit in edits)
    if gone == 0:
        return []
    return [Edit(4, 4, (end - 8 - gone).to_bytes(4, "little")), *edits]


def gif(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`."""
    edits: list[Edit] = []
    flags = number(file, 10, "B")
    at = 13 + _colours(flags)
    while at < size:
        kind = number(file, at, "B")
        begin = at
        if kind == 0x3B:
            break
        if kind == 0x2C:
            at = _blocks_end(file, at + 10 + _colours(number(file, at + 9, "B")) + 1)
            continue
        if kind != 0x21:
            raise Malformed("a block of no known kind")
        label = number(file, at + 1, "B")
        at = _blocks_end(file, at + 2)
        if label == 0xFE or (label == 0xFF and read_at(file, begin + 3, 11) == b"XMP DataXMP"):
            edits.append(Edit(begin, at - begin))
    return edits


def _colours(flags: int) -> int:
    """Bytes of the table of colours that `flags` announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks_end(file: BinaryIO, at: int) -> int:
    while (length := number(file, at, "B")) > 0:
        at += 1 + length
    return at + 1
