"""A worker with a fake ComfyUI and no gateway: a direct job as RunPod's caller sees it."""

import contextlib
import dataclasses
import io
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fakes.comfy import FakeComfy, Script
from fakes.harness import QUICK, make_settings
from fakes.server import serving
from worker_gpu.direct.run import run_direct
from worker_gpu.direct.settings import DirectSettings
from worker_gpu.job.node_policy import NodePolicy
from worker_gpu.json_readers import Json, JsonObject, maybe_list, maybe_object
from worker_gpu.lifecycle.comfyui import ExternalComfy
from worker_gpu.lifecycle.worker_context import Deps, WorkerContext, open_worker_context
from worker_gpu.log import Log


@dataclass
class DirectHarness:
    """Run jobs with `context`; `updates` has the progress of all of them."""

    comfy: FakeComfy
    context: WorkerContext
    log: io.StringIO
    updates: list[JsonObject] = field(default_factory=list[JsonObject])

    async def run(self, given: Json, job: str = "job-1") -> JsonObject:
        """Run one direct job and its cleanup."""
        answer = await self.answer(given, job)
        await self.wait_cleanup()
        return answer

    async def answer(self, given: Json, job: str = "job-1") -> JsonObject:
        """Run one direct job up to its response."""
        return await run_direct(self.context, job, given, self.updates.append)

    async def wait_cleanup(self) -> None:
        """Wait for the cleanup of earlier jobs."""
        async with self.context.job_lock:
            pass


@contextlib.asynccontextmanager
async def direct_harness(
    tmp_path: Path,
    script: Script,
    direct: DirectSettings | None = None,
    nodes: NodePolicy | None = None,
) -> AsyncGenerator[DirectHarness]:
    """A worker whose ComfyUI plays `script` for each prompt."""
    comfy, written = FakeComfy(script), io.StringIO()
    ids = (f"00000000-0000-0000-0000-{number:012}" for number in itertools.count(1))
    deps = Deps(random=Random(1), new_id=lambda: next(ids))
    async with serving(comfy.application()) as url:
        settings = dataclasses.replace(
            make_settings(tmp_path, url), direct=direct or DirectSettings(), nodes=nodes or NodePolicy()
        )
        external = ExternalComfy(url, QUICK)
        async with open_worker_context(settings, external, QUICK, deps, Log(written)) as context:
            await context.comfy_info()
            await comfy.notice.until(lambda: comfy.connections > 0)
            yield DirectHarness(comfy, context, written)


def entries(answer: JsonObject, kind: str) -> list[JsonObject]:
    """The list `kind` of a response."""
    return [maybe_object(item) for item in maybe_list(answer.get(kind))]
