"""MP4 and WebM: tags are overwritten with padding of the same length, so that no offset in the file changes."""

from collections.abc import Iterator
from typing import BinaryIO

from worker_gpu.outputs.strip_metadata.edits import MAX_HEADER_BYTES, Edit, Malformed, number, read_at

CONTAINERS = frozenset({b"moov", b"trak"})
TAG_BOXES = frozenset({b"udta", b"meta"})
"""Only below `moov` and `trak`: `meta` at the top of an image file such as AVIF is the image itself."""
EBML, SEGMENT, CLUSTER, TAGS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1254C367
VOID = b"\xec"
UNKNOWN_SIZE = -1


def mp4(file: BinaryIO, size: int) -> list[Edit]:
    """See `FindEdits`."""
    return [_free_box(begin, head, end) for begin, head, end in _tag_boxes(file, 0, size, inside=False)]


def _free_box(begin: int, head: int, end: int) -> Edit:
    """Turns a box into a `free` box whose content is zeros."""
    return Edit(begin + 4, end - begin - 4, b"free" + bytes(head - 8) + bytes(end - begin - head))


def _tag_boxes(file: BinaryIO, at: int, end: int, inside: bool) -> Iterator[tuple[int, int, int]]:
    """Start, header length and end of each box of tags."""
    while at + 8 <= end:
        length, kind, head = number(file, at, ">I"), read_at(file, at + 4, 4), 8
        if length == 1:
            length, head = number(file, at + 8, ">Q"), 16
        elif length == 0:
            length = end - at
        if length < head or at + length > end:
            raise Malformed("a box is longer than what contains it")
        if inside and kind in TAG_BOXES:
            if head != 8 or length > MAX_HEADER_BYTES:
                raise Malformed("the tags are too long")
            yield at, head, at + length
        elif kind in CONTAINERS:
            yield from _tag_boxes(file, at + head, at + length, inside=True)
        at += length


def webm(file: BinaryIO, size: int) -> list[Edit]:
    """See `FindEdits`."""
    return list(_tags(file, 0, size))


def _tags(file: BinaryIO, at: int, end: int) -> Iterator[Edit]:
    while at < end:
        begin = at
        kind, at = _element_id(file, at)
        length, at = _element_size(file, at)
        if length == UNKNOWN_SIZE:
            if kind not in (SEGMENT, CLUSTER):
                raise Malformed("an element has no length")
            continue  # A live recording: its children follow, then the next element.
        if kind == SEGMENT:
            yield from _tags(file, at, min(end, at + length))
        elif kind == TAGS:
            if at + length > end:
                raise Malformed("the tags are longer than the file")
            yield Edit(begin, at + length - begin, _void(at + length - begin))
        at += length


def _void(length: int) -> bytes:
    """A Void element of `length` bytes. Tags are never shorter than an ID of four bytes and a length of one."""
    if length > MAX_HEADER_BYTES:
        raise Malformed("the tags are too long")
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


def _width(first: int, max_width: int) -> int:
    width = 9 - first.bit_length()
    if width > max_width:
        raise Malformed("a number has an unknown width")
    return width
