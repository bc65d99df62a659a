"""The form of `/upload/image` as it is sent: the file first, then the folder that is named by the file's hash.

ComfyUI reads all fields of a form before it looks at any, so a file is read once, and hashed while it is sent.
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from typing import IO

BLOCK_BYTES = 256 * 1024
DIGEST_CHARS = 64
"""Of SHA-256 in hex: the form's length is known before the hash is."""


class InputForm:
    """`filename` holds no quote and no control character."""

    def __init__(self, file: IO[bytes], size: int, folder: str, filename: str) -> None:
        self._file = file
        self._folder = folder
        self._boundary = uuid.uuid4().hex
        self._head = self._part(f'image"; filename="{filename}', "application/octet-stream")
        length = len(self._head) + size + len(self._tail("0" * DIGEST_CHARS))
        self.headers = {
            "content-type": f"multipart/form-data; boundary={self._boundary}",
            "content-length": str(length),
        }

    async def body(self) -> AsyncIterator[bytes]:
        """The form's bytes. Ask once."""
        digest = hashlib.sha256()
        yield self._head
        while block := await asyncio.to_thread(self._file.read, BLOCK_BYTES):
            digest.update(block)
            yield block
        yield self._tail(digest.hexdigest())

    def _part(self, name: str, content_type: str = "") -> bytes:
        kind = f"content-type: {content_type}\r\n" if content_type else ""
        return f'--{self._boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n{kind}\r\n'.encode()

    def _tail(self, digest: str) -> bytes:
        fields = {"type": "input", "overwrite": "true", "subfolder": f"{self._folder}/{digest}"}
        parts = b"".join(b"\r\n" + self._part(name) + value.encode() for name, value in fields.items())
        return parts + f"\r\n--{self._boundary}--\r\n".encode()
