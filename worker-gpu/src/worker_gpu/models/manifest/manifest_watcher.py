"""When a worker reads the manifest again, and how long its GPU waits for a store that does not respond."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

from worker_gpu.log import Log
from worker_gpu.models.errors import ModelError
from worker_gpu.models.sync import ModelSync

MAX_AGE_S = 300.0
"""A job reads an older manifest again, which is one small request. Measured by the wall clock, since a worker may be
frozen between jobs (FlashBoot)."""
READ_TIMEOUT_S = 5.0
"""The read timeout for the manifest. It is small, so this is shorter than for a model file."""
CACHED_ATTEMPTS = 2
"""Attempts when a manifest is loaded already, or when the first read has used all attempts."""
UNCHANGED_PAUSE_S = 5.0
"""How soon a job that names an unknown model reads an unchanged manifest again. Short, since users push a missing model
and retry."""
FAILED_PAUSE_S = 30.0
"""How soon a job reads the manifest again after the store failed."""


class ManifestWatcher:
    """Keeps the manifest of a `ModelSync` up to date."""

    def __init__(self, sync: ModelSync, log: Log, now: Callable[[], float]) -> None:
        self._sync = sync
        self._log = log
        self._now = now
        # Not an asyncio lock: a worker starts in one event loop and runs jobs in another.
        self._load_lock = threading.Lock()
        self._checked_at: float | None = None
        self._pause_s = 0.0
        self.error: ModelError | None = None
        """The error of the last read; None after a success."""

    def is_due(self, has_unknown: bool) -> bool:
        """Whether a job should read the manifest again. `has_unknown`: the job names a model that it does not
        contain."""
        if self._checked_at is None:
            return True
        since = self._now() - self._checked_at
        # The clock was set back.
        return since < 0 or (since >= self._pause_s and (has_unknown or since > MAX_AGE_S))

    async def refresh(self) -> bool:
        """Read the manifest now. Returns False on an error, which keeps the previous manifest."""
        first = self._checked_at is None
        try:
            changed = await asyncio.to_thread(self._load, first)
            self.error = None
            self._pause_s = 0.0 if changed else UNCHANGED_PAUSE_S
            if changed or first:
                self._log.info("manifest loaded", files=len(self._sync.manifest.files))
        except ModelError as error:
            self.error = error
            self._pause_s = FAILED_PAUSE_S
            self._log.error("manifest not loaded", code=error.code, cause=error.message)
        self._checked_at = self._now()
        return self.error is None

    def _load(self, first: bool) -> bool:
        timeouts = self._sync.settings.timeouts
        with self._load_lock:
            cached = self._sync.load_cached_manifest()
            attempts = min(CACHED_ATTEMPTS, timeouts.attempts) if cached or not first else timeouts.attempts
            return self._sync.load_manifest(
                replace(timeouts, attempts=attempts, read_timeout_s=min(READ_TIMEOUT_S, timeouts.read_timeout_s))
            )
