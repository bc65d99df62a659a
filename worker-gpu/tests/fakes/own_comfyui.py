"""A ComfyUI that the worker starts itself, as in production: the CPU engine of local/comfyui."""

import contextlib
import io
import itertools
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fakes.gateway import FakeGateway, Job
from fakes.server import serving
from worker_gpu.job.job_runner import run_job
from worker_gpu.json_readers import JsonObject
from worker_gpu.lifecycle.comfyui import Comfy
from worker_gpu.lifecycle.worker_context import Deps, WorkerContext, open_worker_context
from worker_gpu.log import Log
from worker_gpu.settings import Settings, read_settings
from worker_gpu.timeouts import Timeouts
from worker_gpu.wire.contract import Receipt, Ticket

ENGINE = Path(__file__).parents[3] / "local" / "comfyui"


@dataclass
class OwnHarness:
    """A gateway and a worker with a ComfyUI of its own."""

    gateway: FakeGateway
    context: WorkerContext
    log: io.StringIO

    async def run(self) -> Receipt:
        """Run the gateway's job."""
        return await run_job(self.context, Ticket.parse(self.gateway.ticket()))


def engine_settings(data: Path, env: Mapping[str, str] | None = None) -> Settings:
    """Settings of a worker that starts the CPU engine with its test nodes, or what `env` says."""
    return read_settings(
        {
            "COMFYUI_PATH": str(ENGINE),
            "COMFYUI_PYTHON": sys.executable,
            "COMFYUI_ARGS": "--probe-nodes",
            "WORKER_DATA_DIR": str(data),
            "RUNPOD_POD_ID": "worker-1",
            "MIN_FREE_MEMORY_MB": "0",
            "MIN_FREE_DISK_MB": "0",
            **(env or {}),
        }
    )


@contextlib.asynccontextmanager
async def own_harness(
    settings: Settings,
    comfy: Comfy,
    workflow: dict[str, JsonObject],
    change: Callable[[Job], None] = lambda _job: None,
    timeouts: Timeouts | None = None,
    known: bool = True,
) -> AsyncGenerator[OwnHarness]:
    """A stage for one job on a ComfyUI that runs, or unless `known` is yet to be started. On leaving, no rule of the
    contract may have been broken."""
    # A job of its own each time: the ComfyUI is shared, and an attempt runs only once.
    job = Job(str(uuid.uuid4()), workflow)
    change(job)
    gateway = FakeGateway(job)
    written = io.StringIO()
    ids = (f"00000000-0000-0000-0000-{number:012}" for number in itertools.count(1))
    deps = Deps(random=Random(1), new_id=lambda: next(ids))
    async with (
        serving(gateway.application()) as gateway.url,
        open_worker_context(settings, comfy, timeouts or Timeouts(), deps, Log(written)) as context,
    ):
        if known:
            await context.comfy_info()
        yield OwnHarness(gateway, context, written)
    assert gateway.violations == []
