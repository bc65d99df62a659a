"""A ComfyUI of the worker's own that dies on request, played by a fake."""

import asyncio

from fakes.comfy import FakeComfy
from fakes.harness import Harness
from worker_gpu.lifecycle.comfyui import ExternalComfy
from worker_gpu.timeouts import Timeouts


class KillableComfy(ExternalComfy):
    """Dies on request; a restart brings it back without a memory of its prompts."""

    runs_alone = True

    def __init__(self, url: str, timeouts: Timeouts, fake: FakeComfy) -> None:
        super().__init__(url, timeouts)
        self.fake = fake
        self.dead = asyncio.Event()
        self.restarts = 0
        self.kills = 0
        self.lines: list[str] = []

    async def ensure_running(self) -> bool:
        if not self.dead.is_set():
            return False
        self.restarts += 1
        self.dead.clear()
        self.fake.unwell = False
        self.fake.hang = None
        self.fake.history.clear()
        self.fake.running = None
        self.fake.pending.clear()
        return True

    async def wait_exit(self) -> None:
        await self.dead.wait()

    async def kill(self) -> bool:
        self.kills += 1
        await self.die()
        return True

    @property
    def printed(self) -> int:
        return len(self.lines)

    def tail(self, after: int = 0) -> list[str]:
        return self.lines[after:]

    async def die(self) -> None:
        """Answer nothing any more, as a process that was killed."""
        if self.dead.is_set():
            return
        self.lines.append("Segmentation fault")
        self.fake.unwell = True
        await self.fake.drop_sockets()
        self.dead.set()


def mortal_of(harness: Harness) -> KillableComfy:
    """The ComfyUI of a stage that was set with `engine=MortalComfy`."""
    assert isinstance(harness.context.comfy, KillableComfy)
    return harness.context.comfy
