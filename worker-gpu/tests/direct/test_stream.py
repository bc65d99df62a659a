"""A stream shows the progress of a run, and delays neither the run nor its end."""

import asyncio
from collections.abc import Callable

import pytest

from worker_gpu.direct.response import wire_size
from worker_gpu.direct.run import SendProgress
from worker_gpu.direct.stream import PROGRESS_SHARE, stream_job
from worker_gpu.json_readers import Json, JsonObject

pytestmark = pytest.mark.asyncio

LIMIT = 10_000_000
NEVER_S = 1e9
ANSWER: JsonObject = {"images": []}


def progress(value: Json) -> JsonObject:
    return {"type": "progress", "value": value}


async def collected(
    run: Callable[[SendProgress], "asyncio.Future[JsonObject]"], limit: int = LIMIT, gap_s: float = NEVER_S
) -> list[JsonObject]:
    return [chunk async for chunk in stream_job(run, limit, lambda: 0.0, gap_s)]


def sending(*lines: JsonObject, answer: JsonObject = ANSWER) -> Callable[[SendProgress], "asyncio.Future[JsonObject]"]:
    """A run that sends `lines`, gives the reader time after each, and returns `answer`."""

    async def run(tell: SendProgress) -> JsonObject:
        for line in lines:
            tell(line)
            for _ in range(20):
                await asyncio.sleep(0)
        return answer

    return lambda tell: asyncio.ensure_future(run(tell))


async def test_two_thousand_steps_make_a_few_chunks() -> None:
    chunks = await collected(sending(*(progress(step) for step in range(2000))))
    assert chunks == [progress(0), ANSWER]


async def test_stream_sends_the_latest_progress_when_it_is_due() -> None:
    clock, seen = [0.0], asyncio.Event()

    async def run(tell: SendProgress) -> JsonObject:
        for step in range(10):
            tell(progress(step))
        await seen.wait()
        for step in range(10, 20):
            tell(progress(step))
        clock[0] = 5.0
        tell({"type": "stage", "stage": "uploading"})
        seen.clear()
        await seen.wait()
        return ANSWER

    chunks: list[JsonObject] = []
    async for chunk in stream_job(run, LIMIT, lambda: clock[0], 5.0):
        chunks.append(chunk)
        if chunk in (progress(9), progress(19)):
            seen.set()
    assert chunks == [progress(9), {"type": "stage", "stage": "uploading"}, progress(19), ANSWER]


async def test_stream_sends_all_stages_and_outputs_in_order() -> None:
    harness: JsonObject = {"type": "stage", "stage": "executing"}
    outputs: list[JsonObject] = [{"type": "output", "filename": f"{number}.png"} for number in range(5)]
    assert await collected(sending(harness, *outputs)) == [harness, *outputs, ANSWER]


async def test_stream_drops_pending_chunks_when_the_run_ends() -> None:
    async def run(tell: SendProgress) -> JsonObject:
        for number in range(1000):
            tell({"type": "output", "filename": f"{number}.png"})
        tell(progress(1))
        return ANSWER

    assert await collected(lambda tell: asyncio.ensure_future(run(tell))) == [ANSWER]


async def test_stream_never_exceeds_the_limit_of_runpod() -> None:
    lines = [progress("x" * 1000) for _ in range(40)]
    answer: JsonObject = {"images": ["y" * 50_000]}
    chunks = await collected(sending(*lines, answer=answer), limit=100_000, gap_s=0.0)
    assert chunks[-1] == answer
    assert 0 < sum(map(wire_size, chunks[:-1])) <= 100_000 * PROGRESS_SHARE

    chunks = await collected(sending(*lines, answer={"images": ["y" * 95_000]}), limit=100_000, gap_s=0.0)
    assert chunks[-1]["code"] == "output_too_large"
    assert sum(map(wire_size, chunks)) <= 100_000


async def test_closed_stream_stops_its_run() -> None:
    stopped = asyncio.Event()

    async def run(tell: SendProgress) -> JsonObject:
        tell(progress(0))
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ANSWER

    chunks = stream_job(run, LIMIT, lambda: 0.0)
    assert await anext(chunks) == progress(0)
    await chunks.aclose()
    assert stopped.is_set()
