"""What is changed in a file: bytes in place where lengths stay, else the file is written anew beside itself."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

BLOCK_BYTES = 1024 * 1024
UNFINISHED_SUFFIX = ".unfinished"
"""Of a file that is being written anew: no output."""
MAX_HEADER_BYTES = 64 * 1024 * 1024
"""No header that holds a graph is larger; one that says so is broken."""


class Malformed(Exception):  # noqa: N818 -- a state of the file, not of the code
    """The file is not what its first bytes promise."""


@dataclass(frozen=True)
class Edit:
    """`length` bytes from `at` become `put`."""

    at: int
    length: int
    put: bytes = b""


Finder: TypeAlias = Callable[[BinaryIO, int], list[Edit]]
"""The edits of an open file of so many bytes, in the order of their places. Raises `Malformed`."""


def read_at(file: BinaryIO, at: int, length: int) -> bytes:
    """Exactly `length` bytes from `at`. Raises `Malformed`."""
    if length < 0 or length > MAX_HEADER_BYTES:
        raise Malformed(f"a part of {length} bytes")
    file.seek(at)
    found = file.read(length)
    if len(found) != length:
        raise Malformed("ends too soon")
    return found


def number(file: BinaryIO, at: int, form: str) -> int:
    """One integer in the form of `struct`. Raises `Malformed`."""
    (value,) = struct.unpack(form, read_at(file, at, struct.calcsize(form)))
    return int(value)


def apply(path: Path, edits: list[Edit]) -> None:
    """Change the file at `path`. Blocks. Raises `OSError`."""
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
