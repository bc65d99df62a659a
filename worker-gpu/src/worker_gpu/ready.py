"""What the boot hands to the adapter: everything that was started before there are jobs."""

from dataclasses import dataclass

from worker_gpu.boot import Comfy
from worker_gpu.log import Log
from worker_gpu.models.service import Models
from worker_gpu.patience import Patience
from worker_gpu.settings import Settings
from worker_gpu.workplace import Known


@dataclass(frozen=True)
class Ready:
    """A worker that may take jobs."""

    settings: Settings
    comfy: Comfy
    known: Known | None
    models: Models | None
    patience: Patience
    log: Log
