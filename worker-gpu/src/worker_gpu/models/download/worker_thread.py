"""The loop that reads, hashes and writes the bytes of a chunk."""

import hashlib
import threading

from worker_gpu.models.disk.partial_file import PartialFile
from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.speed import ChunkSpeed
from worker_gpu.models.download.transport import TransientError, Transport
from worker_gpu.models.errors import Stopped


def read_chunk(
    transport: Transport,
    download: Download,
    part: PartialFile,
    speed: ChunkSpeed,
    first: int,
    length: int,
    stop: threading.Event,
) -> str:
    """Copy `length` bytes from byte `first` of the source to the partial file, and return their SHA-256. Raises
    `TransientError`, `ModelError`, and `Stopped` if the worker stops or the download fails meanwhile."""
    received = 0

    def check() -> None:
        if stop.is_set() or download.error is not None:
            raise Stopped
        speed.check(received)

    body = download.remote.open_range(transport, first, length, check)
    try:
        digest = hashlib.sha256()
        # Reads on to the end of the body: a longer body is not the requested range.
        while piece := body.read(check):
            if received + len(piece) > length:
                raise TransientError(f"the body has more than {length} bytes")
            digest.update(piece)
            part.write(piece, first + received)
            received += len(piece)
            download.add_received(len(piece))
            check()
        if received < length:
            raise TransientError(f"the body ended after {received} of {length} bytes")
    except (TransientError, Stopped):
        download.add_received(-received)
        raise
    finally:
        body.close()
    speed.finish(length)
    return digest.hexdigest()
