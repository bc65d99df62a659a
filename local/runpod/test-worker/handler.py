"""A worker for the conformance tests: the real RunPod SDK in its production loop, and a handler that does what its input says.

`input.do` is one of the names below; what happens in the handler is written to the file TEST_WORKER_LOG names, one
word and job id a line, so that a test can see that a cancel arrived inside the handler.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from typing import Any

import runpod


def note(word: str, job: dict[str, Any]) -> None:
    path = os.environ.get("TEST_WORKER_LOG")
    if path:
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"{word} {job['id']}\n")


async def wait_until_stopped(job: dict[str, Any]) -> dict[str, Any]:
    """Runs until the platform stops it."""
    note("waiting", job)
    runpod.serverless.progress_update(job, "waiting")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        note("cancelled", job)
        raise
    return {"waited": True}


def block(job: dict[str, Any]) -> dict[str, Any]:
    """Holds the SDK's event loop, as a handler that is not async does: no cancel can reach it."""
    note("blocking", job)
    runpod.serverless.progress_update(job, "blocking")
    time.sleep(600)
    return {"blocked": True}


async def handler(job: dict[str, Any]) -> Any:
    order = job["input"]
    match order["do"]:
        case "echo":
            return {"echo": order.get("value"), "pid": os.getpid(), "index": os.environ["WORKER_INDEX"]}
        case "progress":
            runpod.serverless.progress_update(job, {"step": 1})
            await asyncio.sleep(float(order.get("for_s", 0.5)))
            return {"done": True}
        case "empty":
            return {}
        case "error":
            return {"error": "it went wrong", "detail": 7}
        case "raise":
            raise ValueError("boom")
        case "refresh":
            return {"refresh_worker": True, "pid": os.getpid()}
        case "wait":
            return await wait_until_stopped(job)
        case "block":
            return block(job)
        case "exit":
            os._exit(3)
        case unknown:
            return {"error": f"no such order: {unknown}"}


async def generator(job: dict[str, Any]) -> AsyncGenerator[Any, None]:
    order = job["input"]
    for number in range(int(order.get("count", 3))):
        yield {"part": number}
    if order.get("fail"):
        raise ValueError("no more parts")


runpod.serverless.start(
    {
        "handler": generator if os.environ.get("TEST_WORKER_KIND") == "generator" else handler,
        "return_aggregate_stream": True,
        "concurrency_modifier": lambda _: int(os.environ.get("TEST_WORKER_CONCURRENCY", "1")),
    }
)
