"""The state of one download."""

import threading
from concurrent.futures import Future

from worker_gpu.models.disk.partial_file import PartialFile
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.download.remote_file import RemoteFile
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import ModelFile


class Download:
    """A file, its source and its partial file. `result` is set when the file is in the folder, or to a `ModelError`.
    `partial` is set once there is space for it, and `error` once the download cannot succeed any more."""

    def __init__(self, file: ModelFile, urgency: Urgency, remote: RemoteFile) -> None:
        self.file = file
        self.urgency = urgency
        self.remote = remote
        self.result: Future[None] = Future()
        self.partial: PartialFile | None = None
        self.error: ModelError | None = None
        self.received = 0
        """Bytes received, including those not verified yet."""
        self.remaining_chunks = 0
        """Chunks that are not finished. The pool's lock guards this field and those below."""
        self.active_threads = 0
        """Threads that work on this download."""
        self.ended = False
        """Whether a thread has begun to set `result`."""
        self._lock = threading.Lock()

    def add_received(self, amount: int) -> None:
        """Add received bytes; a negative amount subtracts bytes that were wrong."""
        with self._lock:
            self.received += amount
