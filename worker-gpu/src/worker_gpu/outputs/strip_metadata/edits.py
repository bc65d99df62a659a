"""Changes of a file: bytes are overwritten in place if every length stays the same, else the file is rewritten."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

BLOCK_BYTES = 1024 * 1024
UNFINISHED_SUFFIX = ".unfinished"
"""Marks a file that is being rewritten. It starts with a dot, so it is not an output."""
MAX_HEADER_BYTES = 64 * 1024 * 1024
"""A header that claims to be larger is damaged."""


class Malformed(Exception):  # noqa: N818 -- a state of the file, not of the code
    """The rest of the file is not in the format that its first bytes name."""


@dataclass(frozen=True)
class Edit:
    """Replaces `length` bytes at offset `at` by `put`."""

    at: int
    length: int
    put: bytes = b""


FindEdits: TypeAlias = Callable[[BinaryIO, int], list[Edit]]
"""Gets an open file and its size; returns the edits that remove its metadata, by offset. Raises `Malformed`."""


def read_at(file: BinaryIO, at: int, length: int) -> bytes:
    """Read exactly `length` bytes at offset `at`. Raises `Malformed`."""
    if length < 0 or length > MAX_HEADER_BYTES:
        raise Malformed(f"a part has {length} bytes")
    file.seek(at)
    found = file.read(length)
    if len(found) != length:
        raise Malformed("the file ends too soon")
    return found


def number(file: BinaryIO, at: int, format_: str) -> int:
    """Read one integer in a format of `struct`. Raises `Malformed`."""
    (value,) = struct.unpack(format_, read_at(file, at, struct.calcsize(format_)))
    return int(value)


def apply(path: Path, edits: list[Edit]) -> None:
    """Apply `edits` to the file at `path`. Blocks. Raises `OSError`."""
    if all(len(edit.put) == edit.length for edit in edits):
        with path.open("r+b") as file:
            for edit in edits:
                file.seek(edit.at)
                file.write(edit.put)
        return
    fresh = path.with_name(f".{path.name}{UNFINISHED_SUFFIX}")
    with path.open("rb") as old, fresh.open("wb") as new:
        at = 0
        for edit in edits:
            _copy(old, new, at, edit.at)
            new.write(edit.put)
            at = edit.at + edit.length
        _copy(old, new, at, os.fstat(old.fileno()).st_size)
    fresh.replace(path)


def _copy(old: BinaryIO, new: BinaryIO, begin: int, end: int) -> None:
    old.seek(begin)
    while begin < end and (block := old.read(min(BLOCK_BYTES, end - begin))):
        new.write(block)
        begin += len(block)
