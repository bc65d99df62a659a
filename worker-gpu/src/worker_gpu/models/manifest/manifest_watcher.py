"""When a worker looks at the manifest again, and how long its GPU waits for a store that does not answer."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

from worker_gpu.log import Log
from worker_gpu.models.errors import ModelError
from worker_gpu.models.sync import ModelSync

MAX_AGE_S = 300.0
"""After this a job has the manifest looked at again: one small request. By the wall clock, since a worker that was
frozen between jobs (FlashBoot) must notice too."""
READ_TIMEOUT_S = 5.0
"""Silence of the store while it sends the manifest, which is small: less than while it sends a model."""
CACHED_ATTEMPTS = 2
"""Tries to read the manifest, but for the first time: then there is one already, or the store was tried for long."""
UNCHANGED_PAUSE_S = 5.0
"""A manifest that had not changed is not asked for again so soon, by jobs that name what it does not have. Short: who
has just been told that a model is lacking pushes it and tries again."""
FAILED_PAUSE_S = 30.0
"""Nor is a store that could not be read."""


class ManifestWatcher:
    """Keeps a sync's manifest fresh."""

    def __init__(self, sync: ModelSync, log: Log, now: Callable[[], float]) -> None:
        self._sync = sync
        self._log = log
        self._now = now
        # Not asyncio's: a worker starts in one event loop and takes jobs in another.
        self._load_lock = threading.Lock()
        self._checked_at: float | None = None
        self._pause_s = 0.0
        self.error: ModelError | None = None
        """Why the manifest could not be read the last time."""

    def is_due(self, has_unknown: bool) -> bool:
        """Whether a job shall look again: the manifest is old, or it is `lacking` what the job names."""
        if self._checked_at is None:
            return True
        since = self._now() - self._checked_at
        # A clock that was set back says nothing.
        return since < 0 or (since >= self._pause_s and (has_unknown or since > MAX_AGE_S))

    async def refresh(self) -> bool:
        """Look now. False when it could not be read: then the manifest before stays."""
        first = self._checked_at is None
        try:
            changed = await asyncio.to_thread(self._load, first)
            self.error = None
            self._pause_s = 0.0 if changed else UNCHANGED_PAUSE_S
            if changed or first:
                self._log.info("models manifest", files=len(self._sync.manifest.files))
        except ModelError as error:
            self.error = error
            self._pause_s = FAILED_PAUSE_S
            self._log.error("models manifest", code=error.code, cause=error.message)
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
