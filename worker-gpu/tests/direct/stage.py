"""A worker between a fake ComfyUI and nobody: what RunPod's caller sees of a direct job."""

import contextlib
import dataclasses
import io
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fakes.comfy import FakeComfy, Script
from fakes.server import serving
from fakes.stage import QUICK, make_settings
from worker_gpu.boot import ExternalComfy
from worker_gpu.direct.run import run_direct
from worker_gpu.direct.settings import DirectSettings
from worker_gpu.log import Log
from worker_gpu.policy import NodePolicy
from worker_gpu.shape import Json, JsonObject, maybe_list, maybe_object
from worker_gpu.workplace import Tools, Workplace, open_workplace


@dataclass
class DirectStage:
    """Run jobs on `place`; `told` is the progress of all of them."""

    comfy: FakeComfy
    place: Workplace
    log: io.StringIO
    told: list[JsonObject] = field(default_factory=list[JsonObject])

    async def run(self, given: Json, job: str = "job-1") -> JsonObject:
        """One direct job, and what is left to do after its answer."""
        answer = await self.answer(given, job)
        await self.tidied()
        return answer

    async def answer(self, given: Json, job: str = "job-1") -> JsonObject:
        """One direct job up to its answer."""
        return await run_direct(self.place, job, given, self.told.append)

    async def tidied(self) -> None:
        """Wait until nothing is left of the jobs before."""
        async with self.place.turn:
            pass


@contextlib.asynccontextmanager
async def direct_stage(
    tmp_path: Path,
    script: Script,
    direct: DirectSettings | None = None,
    nodes: NodePolicy | None = None,
) -> AsyncGenerator[DirectStage]:
    """A worker whose ComfyUI plays `script` for each prompt."""
    comfy, written = FakeComfy(script), io.StringIO()
    ids = (f"00000000-0000-0000-0000-{number:012}" for number in itertools.count(1))
    tools = Tools(random=Random(1), new_id=lambda: next(ids))
    async with serving(comfy.application()) as url:
        settings = dataclasses.replace(
            make_settings(tmp_path, url), direct=direct or DirectSettings(), nodes=nodes or NodePolicy()
        )
        external = ExternalComfy(url, QUICK)
        async with open_workplace(settings, external, QUICK, tools, Log(written)) as place:
            await place.know()
            await comfy.notice.until(lambda: comfy.connections > 0)
            yield DirectStage(comfy, place, written)


def entries(answer: JsonObject, kind: str) -> list[JsonObject]:
    """The list `kind` of an answer."""
    return [maybe_object(item) for item in maybe_list(answer.get(kind))]
