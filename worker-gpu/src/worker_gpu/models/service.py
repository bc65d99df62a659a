"""The worker's model files, for the event loop: the boot group, the background group, and the files of each job.

models = Models(read_model_settings(env), log)
await models.start()                      # never raises: a worker without models still works
await models.boot(on_progress)            # while ComfyUI starts; the worker is not ready before
models.start_background()
async with models.needed_by(workflow, on_progress):   # raises ModelError; pins the files until the end
    ...
await models.close()
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.log import Log
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import BACKGROUND_GROUP, BOOT_GROUP, ModelFile
from worker_gpu.models.manifest.manifest_watcher import ManifestWatcher
from worker_gpu.models.manifest.requested_models import find_requested
from worker_gpu.models.settings import ModelSettings
from worker_gpu.models.sync import Batch, Deps, ModelSync, Progress

OnProgress: TypeAlias = Callable[[Progress], None]

PROGRESS_INTERVAL_S = 0.25
"""How often the worker sends progress (reference/gpu-worker.md section 5.2)."""
REPLACED_ATTEMPTS = 2
"""How often the manifest is read again for a file that was replaced during its download."""
REPLACED_PAUSES_S = (0.5, 1.5, 3.0)
"""Pauses before the manifest is read again: a push writes it two small requests after the object (cli/push.py)."""
MAX_ERRORS = 20


@dataclass(frozen=True)
class Fetched:
    """What was downloaded for a job, and how long that took."""

    files: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class BootReport:
    """The result of the boot group. Every file is in the folder when `errors` is empty."""

    fetched: Fetched
    files: int
    errors: tuple[ModelError, ...]


class Models:
    """The model files of a worker. Every method may be called in any state. Without a manifest they do nothing."""

    def __init__(
        self,
        settings: ModelSettings,
        log: Log,
        deps: Deps | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self._pause = pause
        self._log = log
        self._deps = deps or Deps()
        self._sync = ModelSync(settings, log, self._deps)
        self._open = False
        self._watcher = ManifestWatcher(self._sync, log, self._deps.now)
        self._errors: dict[str, ModelError] = {}
        self._background: asyncio.Task[None] | None = None
        self._volume_copy: asyncio.Task[int] | None = None

    async def start(self) -> None:
        """Lock the models folder and read the manifest. Errors are in `health` and the log."""
        if not self.settings.enabled:
            return
        try:
            await asyncio.to_thread(self._sync.open)
        except ModelError as error:
            self._record_error(error)
            return
        self._open = True
        await self._watcher.refresh()
        files = list(self._sync.manifest.files.values())
        await asyncio.to_thread(self._sync.tree.delete_stale_parts, files)

    async def boot(self, on_progress: OnProgress | None = None) -> BootReport:
        """Download the boot group. Never raises: the report lists the errors."""
        files = self._sync.manifest.in_group(BOOT_GROUP) if self._open else []
        began = self._deps.clock()
        errors = [self._watcher.error] if self._watcher.error is not None else []
        with self._sync.pinned(files):
            batch, failed = await self._fetch(files, Urgency.BOOT, on_progress)
        fetched = self._summarize(batch, began)
        self._log.info(
            "boot models", files=len(files), fetched=fetched.files, bytes=fetched.bytes, s=round(fetched.seconds, 3)
        )
        return BootReport(fetched, len(files), (*errors, *failed))

    def start_background(self) -> None:
        """Start to download the background group and then to copy files to the volume. Jobs take precedence."""
        if self._open and self._background is None:
            self._background = asyncio.create_task(self._run_background())

    @asynccontextmanager
    async def needed_by(
        self, workflow: Mapping[str, JsonObject], on_progress: OnProgress | None = None
    ) -> AsyncGenerator[Fetched]:
        """Download every manifest file that `workflow` names before the body runs, and pin it until the body ends.
        Raises `ModelError`. If the caller is canceled, the downloads continue in the background."""
        if not self._open:
            yield Fetched(0, 0, 0.0)
            return
        named = find_requested(workflow, self._sync.manifest)
        if self._watcher.is_due(bool(named.unknown)):
            await self._watcher.refresh()
            named = find_requested(workflow, self._sync.manifest)
        began = self._deps.clock()
        with self._sync.pinned(named.files):
            batch, failed = await self._fetch(named.files, Urgency.JOB, on_progress)
            if failed:
                raise failed[0]
            try:
                yield self._summarize(batch, began)
            finally:
                # Only after the job: a copy would compete with it for the disk.
                if self._background is not None and self._background.done():
                    self._start_volume_copy()

    def requested_by(self, workflow: Mapping[str, JsonObject]) -> tuple[ModelFile, ...]:
        """The manifest files that `workflow` names."""
        return find_requested(workflow, self._sync.manifest).files if self._open else ()

    def missing_bytes(self, workflow: Mapping[str, JsonObject]) -> int:
        """The bytes that `needed_by` would download for `workflow` by the loaded manifest, to decide on a progress
        stage."""
        if not self._open:
            return 0
        named = find_requested(workflow, self._sync.manifest)
        return sum(file.size for file in named.files if not self._sync.tree.has(file))

    def health(self) -> JsonObject:
        """Files in the folder, running downloads and recent errors, without credentials."""
        sync = self._sync
        manifest_error = self._watcher.error
        report: JsonObject = {
            "enabled": self.settings.enabled,
            "folder": str(self.settings.folder),
            "manifest": {
                "files": len(sync.manifest.files),
                "bytes": sum(file.size for file in sync.manifest.files.values()),
                "error": _error(manifest_error) if manifest_error is not None else None,
            },
            "fetching": [
                {"path": one.file.path, "received_bytes": one.received, "bytes": one.file.size} for one in sync.active()
            ],
            "evicted_files": sync.evicted,
            "replaced_connections": sync.replaced_connections,
            "errors": [_error(error) for error in self._errors.values()],
        }
        if self._open:
            known = sync.tree.known_files()
            report["here"] = {
                "files": len(known),
                "bytes": sum(one.size for one in known if not one.linked),
                "linked_files": sum(one.linked for one in known),
            }
            with contextlib.suppress(ModelError):
                report["free_bytes"] = sync.tree.free_bytes()
        return report

    def inventory(self) -> list[Json]:
        """Every file of the manifest, and whether it is in the folder (by stat)."""
        tree = self._sync.tree
        return [
            {"path": file.path, "bytes": file.size, "sha256": file.sha256, "here": self._open and tree.has(file)}
            for file in self._sync.manifest.files.values()
        ]

    async def close(self) -> None:
        """Stop all work. Unfinished downloads resume at the next start."""
        if self._background is not None:
            self._background.cancel()
            await asyncio.wait({self._background})
        if self._open:
            self._open = False
            await asyncio.to_thread(self._sync.close)
        if self._volume_copy is not None:
            await asyncio.wait({self._volume_copy})

    async def _run_background(self) -> None:
        files = self._sync.manifest.in_group(BACKGROUND_GROUP)
        await self._fetch(files, Urgency.BACKGROUND, None)
        self._start_volume_copy()

    def _start_volume_copy(self) -> None:
        """Start to copy missing files to the volume, unless a copy is running. If another worker writes to the
        volume, the next job's end retries."""
        if self.settings.volume_write and self._open and (self._volume_copy is None or self._volume_copy.done()):
            self._volume_copy = asyncio.create_task(asyncio.to_thread(self._sync.copy_to_volume))

    async def _fetch(
        self, files: Iterable[ModelFile], urgency: Urgency, on_progress: OnProgress | None
    ) -> tuple[Batch, list[ModelError]]:
        requested = {file.path: file for file in files}
        batch = await asyncio.to_thread(self._sync.request, requested.values(), urgency)
        errors = await self._wait(batch, on_progress)
        for _ in range(REPLACED_ATTEMPTS):
            newer = await self._newer_entries(requested, errors)
            if not newer:
                break
            requested.update(newer)
            retried = await asyncio.to_thread(self._sync.request, newer.values(), urgency)
            rest = [download for download in batch.downloads if download.file.path not in newer]
            batch = Batch([*rest, *retried.downloads], [*batch.present, *retried.present])
            errors = await self._wait(batch, on_progress)
        for error in errors:
            self._record_error(error)
        for path in requested.keys() - {error.path for error in errors}:
            self._errors.pop(path, None)
        return batch, errors

    async def _newer_entries(
        self, known: Mapping[str, ModelFile], errors: Iterable[ModelError]
    ) -> dict[str, ModelFile]:
        """The entries of a newer manifest for files that differ from their `known` entries at the source. Waits a
        little for the manifest of a push that has just replaced an object."""
        codes = {error.path: error.code for error in errors if error.code in ("model_replaced", "model_corrupt")}
        for pause_s in (0.0, *REPLACED_PAUSES_S) if codes else ():
            if pause_s:
                await self._pause(pause_s)
            readable = await self._watcher.refresh()
            files = self._sync.manifest.files
            newer = {
                path: files[path] for path in known if path in codes and files.get(path, known[path]) != known[path]
            }
            if newer or not readable or "model_replaced" not in codes.values():
                return newer
        return {}

    async def _wait(self, batch: Batch, on_progress: OnProgress | None) -> list[ModelError]:
        """Wait until every file of `batch` is downloaded or has failed. Returns the errors."""
        futures = {asyncio.wrap_future(future) for future in batch.futures()}
        shown_bytes = 0
        left = futures
        try:
            while left:
                progress = batch.progress()
                # Wrong bytes reduce the progress of a batch, but a progress bar must not run backwards.
                shown_bytes = max(shown_bytes, progress.done_bytes)
                if on_progress is not None:
                    on_progress(Progress(shown_bytes, progress.total_bytes, progress.done_files, progress.total_files))
                _, left = await asyncio.wait(left, timeout=PROGRESS_INTERVAL_S)
        except asyncio.CancelledError:
            self._sync.reorder(batch, Urgency.BACKGROUND)
            raise
        if futures and on_progress is not None:
            on_progress(batch.progress())
        return [error for future in futures if isinstance(error := future.exception(), ModelError)]

    def _summarize(self, batch: Batch, began: float) -> Fetched:
        done = [one for one in batch.downloads if one.result.done() and one.result.exception() is None]
        return Fetched(len(done), sum(one.file.size for one in done), self._deps.clock() - began)

    def _record_error(self, error: ModelError) -> None:
        self._log.error("model unavailable", code=error.code, path=error.path, cause=error.message)
        self._errors[error.path or ""] = error
        while len(self._errors) > MAX_ERRORS:
            self._errors.pop(next(iter(self._errors)))


def _error(error: ModelError) -> JsonObject:
    return {"code": error.code, "message": error.message, "path": error.path}
