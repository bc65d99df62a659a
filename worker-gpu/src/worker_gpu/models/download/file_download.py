"""One file under way."""

import threading
from concurrent.futures import Future

from worker_gpu.models.disk.partial_file import PartialFile
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.download.remote_file import RemoteFile
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import ModelFile


class Download:
    """A file, where its bytes come from and where they go. `result` is set when the file has its name, or to a
    `ModelError`. `part` is there once room was made; `error` once it cannot end well any more."""

    def __init__(self, file: ModelFile, urgency: Urgency, remote: RemoteFile) -> None:
        self.file = file
        self.urgency = urgency
        self.remote = remote
        self.result: Future[None] = Future()
        self.partial: PartialFile | None = None
        self.error: ModelError | None = None
        self.received = 0
        """Bytes that are here, right or still unchecked."""
        self.remaining_chunks = 0
        """Chunks that are not here yet. This and what follows is the pool's own, below its lock."""
        self.active_threads = 0
        """Threads that are at it."""
        self.ended = False
        """Whether somebody has taken it on to set `result`."""
        self._lock = threading.Lock()

    def add_received(self, amount: int) -> None:
        """So many more bytes are here; fewer, where some turned out to be wrong."""
        with self._lock:
            self.received += amount
