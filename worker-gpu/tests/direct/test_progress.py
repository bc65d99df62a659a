"""Progress in the RunPod status of a job, which readers poll from time to time."""

import asyncio
import io

import pytest

from worker_gpu.direct.progress import StatusReporter
from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.log import Log

pytestmark = pytest.mark.asyncio


class Status:
    """Records posts. If `held`, `go` lets one post through."""

    def __init__(self, held: bool = False) -> None:
        self.posted: list[JsonObject] = []
        self.faults: list[Exception] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        if not held:
            self.go.set()
        self.done: asyncio.Queue[JsonObject] = asyncio.Queue()

    async def post(self, message: JsonObject) -> None:
        self.begun.set()
        await self.go.wait()
        self.posted.append(message)
        self.done.put_nowait(message)
        if self.faults:
            raise self.faults.pop(0)


def progress(**nodes: str) -> JsonObject:
    changed: dict[str, Json] = {name: {"state": state} for name, state in nodes.items()}
    return {"type": "progress", "percent": 1.0, "nodes": changed}


async def test_progress_message_has_every_node_so_far() -> None:
    """Each message names only the changes since the one before, which the reader may have missed."""
    status = Status(held=True)
    shown = StatusReporter(status.post, Log(io.StringIO()), gap_s=0, first_s=0)
    shown.update(progress(a="finished", b="running"))
    await status.begun.wait()
    shown.update(progress(b="finished", c="running"))
    shown.update({"type": "stage", "stage": "uploading"})
    shown.update(progress(c="finished"))
    status.go.set()
    assert await status.done.get() == progress(a="finished", b="running")
    assert await status.done.get() == progress(a="finished", b="finished", c="finished")
    await shown.close()


async def test_progress_continues_after_a_message_that_failed() -> None:
    status, log = Status(), io.StringIO()
    status.faults.append(ValueError("no"))
    shown = StatusReporter(status.post, Log(log), gap_s=0, first_s=0)
    shown.update(progress(a="running"))
    await status.done.get()
    shown.update(progress(a="finished"))
    async with asyncio.timeout(10):
        assert await status.done.get() == progress(a="finished")
    await shown.close()
    assert "progress not posted" in log.getvalue()


async def test_no_progress_is_posted_after_close() -> None:
    status = Status(held=True)
    shown = StatusReporter(status.post, Log(io.StringIO()), gap_s=0, first_s=0)
    shown.update(progress(a="running"))
    await status.begun.wait()
    shown.update(progress(a="finished"))
    closing = asyncio.create_task(shown.close())
    status.go.set()
    await closing
    assert status.posted == [progress(a="running")]
