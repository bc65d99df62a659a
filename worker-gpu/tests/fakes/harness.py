"""A worker between a fake ComfyUI and a fake gateway."""

import contextlib
import io
import itertools
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fakes.comfy import FakeComfy, Script
from fakes.gateway import FakeGateway, Job
from fakes.server import serving
from worker_gpu.job.folders import ComfyFolders
from worker_gpu.job.job_runner import run_job
from worker_gpu.json_readers import JsonObject
from worker_gpu.lifecycle.comfyui import ExternalComfy
from worker_gpu.lifecycle.worker_context import Deps, WorkerContext, open_worker_context
from worker_gpu.log import Log
from worker_gpu.settings import Settings
from worker_gpu.timeouts import Timeouts
from worker_gpu.wire.contract import Receipt, Ticket

JOB = "11111111-2222-3333-4444-555555555555"
QUICK = Timeouts(
    claim_s=5.0,
    complete_grace_s=5.0,
    drain_s=5.0,
    retry_first_s=0.001,
    retry_max_s=0.01,
    progress_gap_s=0.01,
    preview_gap_s=0.01,
    poll_quiet_s=0.05,
    poll_first_s=0.001,
    poll_max_s=0.01,
    unreachable_s=0.2,
    cancel_s=1.0,
    cancel_poll_s=0.005,
    start_poll_s=0.01,
)
"""The worker's patience, shortened where a test would otherwise wait."""


@dataclass
class Harness:
    """Everything a test of a whole job needs."""

    comfy: FakeComfy
    gateway: FakeGateway
    context: WorkerContext
    log: io.StringIO

    async def run(self) -> Receipt:
        """Run the gateway's job."""
        return await run_job(self.context, Ticket.parse(self.gateway.ticket()))


@contextlib.asynccontextmanager
async def job_harness(
    tmp_path: Path,
    script: Script,
    workflow: dict[str, JsonObject],
    *,
    timeouts: Timeouts = QUICK,
    jobs_api: bool = False,
    min_free_disk_bytes: int = 0,
    change: Callable[[Job], None] = lambda _job: None,
    now: Callable[[], float] = time.monotonic,
    folders: ComfyFolders | None = None,
    engine: Callable[[str, Timeouts, FakeComfy], ExternalComfy] = lambda url, timeouts, _: ExternalComfy(url, timeouts),
) -> AsyncGenerator[Harness]:
    """A stage for one job with `workflow`, whose prompt is played by `script`. With `folders`, each job
    has folders of its own. On leaving, no rule of the contract may
    have been broken."""
    comfy = FakeComfy(script, jobs_api)
    job = Job(JOB, workflow)
    change(job)
    gateway = FakeGateway(job)
    written = io.StringIO()
    ids = (f"00000000-0000-0000-0000-{number:012}" for number in itertools.count(1))
    deps = Deps(now=now, random=Random(1), new_id=lambda: next(ids))
    async with serving(comfy.application()) as comfy_url, serving(gateway.application()) as gateway.url:
        settings = make_settings(tmp_path, comfy_url, min_free_disk_bytes)
        external = engine(comfy_url, timeouts, comfy)
        external.folders = folders
        async with open_worker_context(settings, external, timeouts, deps, Log(written)) as context:
            await context.comfy_info()
            await comfy.notice.until(lambda: comfy.connections > 0)
            yield Harness(comfy, gateway, context, written)
    assert gateway.violations == []
    assert "sig=" not in written.getvalue()
    assert "token-of" not in written.getvalue()


def make_settings(tmp_path: Path, comfy_url: str, min_free_disk_bytes: int = 0) -> Settings:
    """Settings of a worker that uses a ComfyUI it did not start."""
    return Settings(
        comfyui_url=comfy_url,
        comfyui_path=None,
        comfyui_python="python",
        comfyui_args=(),
        comfyui_port=None,
        data_dir=tmp_path / "worker",
        gateway_origin=None,
        worker_id="worker-1",
        min_free_memory_bytes=0,
        min_free_disk_bytes=min_free_disk_bytes,
        start_timeout_s=5.0,
        log_form="text",
    )
