"""FLAC, MP3 and Opus: comments and ID3 tags are removed, the audio stays as it is."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from worker_gpu.outputs.strip_metadata.edits import Edit, Malformed, number, read_at

FLAC_COMMENT, FLAC_PADDING, FLAC_LAST = 4, 1, 0x80
OGG_PAGE, OPUS_HEAD, OPUS_COMMENTS = b"OggS", b"OpusHead", b"OpusTags"
MAX_COMMENT_PAGES = 1000
"""Of 64 KiB each: far more than any workflow needs."""


def flac(file: BinaryIO, size: int) -> list[Edit]:
    """See `FindEdits`. The block of comments becomes padding."""
    edits: list[Edit] = []
    at, last = 4, False
    while not last:
        head = number(file, at, "B")
        length = int.from_bytes(read_at(file, at + 1, 3), "big")
        if at + 4 + length > size:
            raise Malformed("a block is longer than the file")
        last = bool(head & FLAC_LAST)
        if head & ~FLAC_LAST == FLAC_COMMENT:
            edits.append(Edit(at, 1, bytes([head & FLAC_LAST | FLAC_PADDING])))
            edits.append(Edit(at + 4, length, bytes(length)))
        at += 4 + length
    return edits


def mp3(file: BinaryIO, size: int) -> list[Edit]:
    """See `FindEdits`. ID3v2 is at the start of a file, ID3v1 at its end."""
    edits: list[Edit] = []
    if size >= 10 and read_at(file, 0, 3) == b"ID3":
        flags = number(file, 5, "B")
        length = 0
        for byte in read_at(file, 6, 4):
            length = length << 7 | byte & 0x7F
        edits.append(Edit(0, min(size, 10 + length + (10 if flags & 0x10 else 0))))
    if size >= 128 and read_at(file, size - 128, 3) == b"TAG":
        edits.append(Edit(size - 128, 128))
    return edits


@dataclass(frozen=True)
class _Page:
    at: int
    head: bytes
    body: bytes

    @property
    def end(self) -> int:
        return self.at + len(self.head) + len(self.body)


def is_opus(head: bytes) -> bool:
    """Whether a file that starts with `head` is Opus in Ogg."""
    return head.startswith(OGG_PAGE) and OPUS_HEAD in head


def opus(file: BinaryIO, size: int) -> list[Edit]:
    """See `FindEdits`. The second packet holds the comments and keeps its length: it becomes an empty list of comments
    and zeros, which readers skip (RFC 7845, section 5.2)."""
    first = _page(file, 0, size)
    if not first.body.startswith(OPUS_HEAD):
        raise Malformed("the first page is not Opus")
    comments: list[_Page] = []
    content = b""
    length: int | None = None
    while length is None:
        page = _page(file, (comments or [first])[-1].end, size)
        comments.append(page)
        content += page.body
        if len(comments) > MAX_COMMENT_PAGES:
            raise Malformed("the comments do not end")
        length = _first_packet(comments)
    packet = content[:length]
    if not packet.startswith(OPUS_COMMENTS) or len(packet) < 16:
        raise Malformed("the comments are missing")
    (vendor,) = struct.unpack_from("<I", packet, 8)
    empty = packet[: 12 + vendor] + bytes(4)
    if len(empty) > length:
        raise Malformed("the comments have a wrong length")
    content = empty + bytes(length - len(empty)) + content[length:]
    edits: list[Edit] = []
    for page in comments:
        body, content = content[: len(page.body)], content[len(page.body) :]
        head = page.head[:22] + bytes(4) + page.head[26:]
        head = head[:22] + _checksum(head + body).to_bytes(4, "little") + head[26:]
        edits.append(Edit(page.at, len(head) + len(body), head + body))
    return edits


def _page(file: BinaryIO, at: int, size: int) -> _Page:
    if at + 27 > size or read_at(file, at, 4) != OGG_PAGE:
        raise Malformed("a page is missing")
    head = read_at(file, at, 27 + number(file, at + 26, "B"))
    return _Page(at, head, read_at(file, at + len(head), sum(head[27:])))


def _first_packet(pages: list[_Page]) -> int | None:
    """Length of the packet that starts these pages; None until its end is among them."""
    length = 0
    for page in pages:
        for lace in page.head[27:]:
            length += lace
            if lace < 255:
                return length
    return None


def _table() -> list[int]:
    entries: list[int] = []
    for value in range(256):
        rest = value << 24
        for _ in range(8):
            rest = (rest << 1) ^ (0x04C11DB7 if rest & 0x80000000 else 0)
        entries.append(rest & 0xFFFFFFFF)
    return entries


_TABLE = _table()


def _checksum(data: bytes) -> int:
    """Ogg's CRC (RFC 3533, section 6): polynomial 0x04c11db7, not reflected, initial value zero."""
    value = 0
    for byte in data:
        value = (value << 8) & 0xFFFFFFFF ^ _TABLE[value >> 24 ^ byte]
    return value
