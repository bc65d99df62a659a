"""What the boot hands to the adapter: everything that was started before there are jobs."""

from dataclasses import dataclass

from worker_gpu.lifecycle.comfyui import Comfy
from worker_gpu.lifecycle.worker_context import ComfyInfo
from worker_gpu.log import Log
from worker_gpu.models.service import Models
from worker_gpu.settings import Settings
from worker_gpu.timeouts import Timeouts


@dataclass(frozen=True)
class Ready:
    """A worker that may take jobs."""

    settings: Settings
    comfy: Comfy
    known: ComfyInfo | None
    models: Models | None
    timeouts: Timeouts
    log: Log
