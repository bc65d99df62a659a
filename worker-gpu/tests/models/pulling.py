"""Runs one pull with a time limit, and returns its errors as values."""

from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass

from models.samples import silent
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.settings import ModelSettings
from worker_gpu.models.sync import Deps, ModelSync

LIMIT_S = 20.0
"""A pull that takes longer hangs."""


@dataclass(frozen=True)
class Pulled:
    """The result of a pull."""

    errors: list[ModelError]
    fetched: list[str]
    replaced_connections: int

    @property
    def codes(self) -> list[str]:
        """The sorted codes of the errors."""
        return sorted(error.code for error in self.errors)


def pull(settings: ModelSettings, deps: Deps | None = None, only: Sequence[str] | None = None) -> Pulled:
    """Download all files of the manifest, or `only` these paths. Raises `ModelError` for errors of the manifest."""
    sync = ModelSync(settings, silent(), deps)
    sync.open()
    try:
        sync.load_manifest()
        files = [file for path, file in sync.manifest.files.items() if only is None or path in only]
        return finish(sync, files)
    finally:
        sync.close()


def finish(sync: ModelSync, files: Sequence[ModelFile], urgency: Urgency = Urgency.JOB) -> Pulled:
    """Download `files`."""
    batch = sync.request(files, urgency)
    done, left = wait(batch.futures(), timeout=LIMIT_S)
    assert not left, "the pull hangs"
    errors = [error for future in done if isinstance(error := future.exception(), ModelError)]
    fetched = [one.file.path for one in batch.downloads if one.result.exception() is None]
    return Pulled(errors, fetched, sync.replaced_connections)
