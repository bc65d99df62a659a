"""MP4 and Matroska: the boxes of tags become empty space of the same length, so that no place in the file moves."""

from collections.abc import Iterator
from typing import BinaryIO

from worker_gpu.outputs.strip_metadata.edits import MAX_HEADER_BYTES, Edit, Malformed, number, read_at

HOLDERS = frozenset({b"moov", b"trak"})
TAG_BOXES = frozenset({b"udta", b"meta"})
"""Below `moov` and `trak`; the `meta` at the top of an AVIF or HEIC picture is the picture itself."""
EBML, SEGMENT, CLUSTER, TAGS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1254C367
VOID = b"\xec"
UNKNOWN_SIZE = -1


def mp4(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`."""
    return [_freed(begin, head, end) for begin, head, end in _tag_boxes(file, 0, size, inside=False)]


def _freed(begin: int, head: int, end: int) -> Edit:
    """The name of the box becomes `free`, its content zeros."""
    return Edit(begin + 4, end - begin - 4, b"free" + bytes(head - 8) + bytes(end - begin - head))


def _tag_boxes(file: BinaryIO, at: int, end: int, inside: bool) -> Iterator[tuple[int, int, int]]:
    """Begin, length of the header and end of each box of tags."""
    while at + 8 <= end:
        length, kind, head = number(file, at, ">I"), read_at(file, at + 4, 4), 8
        if length == 1:
            length, head = number(file, at + 8, ">Q"), 16
        elif length == 0:
            length = end - at
        if length < head or at + length > end:
            raise Malformed("a box goes beyond its end")
        if inside and kind in TAG_BOXES:
            if head != 8 or length > MAX_HEADER_BYTES:
                raise Malformed("tags of that length")
            yield at, head, at + length
        elif kind in HOLDERS:
            yield from _tag_boxes(file, at + head, at + length, inside=True)
        at += length


def matroska(file: BinaryIO, size: int) -> list[Edit]:
    """See `Finder`."""
    return list(_tags(file, 0, size))


def _tags(file: BinaryIO, at: int, end: int) -> Iterator[Edit]:
    while at < end:
        begin = at
        kind, at = _element_id(file, at)
        length, at = _element_size(file, at)
        if length == UNKNOWN_SIZE:
            if kind not in (SEGMENT, CLUSTER):
                raise Malformed("an element without a length")
            continue  # a live recording: what follows are its children, and the next of its kind
        if kind == SEGMENT:
            yield from _tags(file, at, min(end, at + length))
        elif kind == TAGS:
            yield Edit(begin, at + length - begin, _void(at + length - begin))
        at += length


def _void(length: int) -> bytes:
    """An element of `length` bytes that means nothing. Tags have four bytes of name and one of length at least."""
    if length > MAX_HEADER_BYTES:
        raise Malformed("tags of that length")
    width = 8 if length >= 9 else 1
    content = length - 1 - width
    return VOID + ((1 << (7 * width)) | content).to_bytes(width, "big") + bytes(content)


def _element_id(file: BinaryIO, at: int) -> tuple[int, int]:
    width = _width(number(file, at, "B"), 4)
    return int.from_bytes(read_at(file, at, width), "big"), at + width


def _element_size(file: BinaryIO, at: int) -> tuple[int, int]:
    width = _width(number(file, at, "B"), 8)
    value = int.from_bytes(read_at(file, at, width), "big") & ((1 << (7 * width)) - 1)
    return UNKNOWN_SIZE if value == (1 << (7 * width)) - 1 else value, at + width


def _width(first: int, most: int) -> int:
    width = 9 - first.bit_length()
    if width > most:
        raise Malformed("a number of no known width")
    return width
