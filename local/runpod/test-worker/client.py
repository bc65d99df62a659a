"""The real PyPI client, used as its documentation says; prints what it got as one JSON object.

Base URL and key come from RUNPOD_ENDPOINT_BASE_URL and RUNPOD_API_KEY, the endpoints from the arguments.
"""

import asyncio
import json
import os
import sys
from typing import Any

import runpod
from runpod.endpoint.asyncio import Endpoint as AsyncEndpoint
from runpod.http_client import AsyncClientSession

runpod.api_key = os.environ["RUNPOD_API_KEY"]


def with_requests(plain: str, streaming: str) -> dict[str, Any]:
    endpoint = runpod.Endpoint(plain)
    echo = endpoint.run({"do": "echo", "value": 1})
    failed = endpoint.run({"do": "error"})
    waiting = endpoint.run({"input": {"do": "wait"}})
    return {
        "echo": echo.output(timeout=30)["echo"],
        "echo_status": echo.status(),
        "failed": failed.output(timeout=30),
        "failed_status": failed.status(),
        "run_sync": endpoint.run_sync({"do": "echo", "value": 2}, timeout=30)["echo"],
        "cancel": waiting.cancel()["status"],
        "cancelled_status": waiting.status(),
        "health": sorted(endpoint.health()),
        "purged": endpoint.purge_queue(),
        "stream": list(runpod.Endpoint(streaming).run({"count": 3}).stream()),
    }


async def with_aiohttp(plain: str, streaming: str) -> dict[str, Any]:
    async with AsyncClientSession() as session:
        endpoint = AsyncEndpoint(plain, session)
        echo = await endpoint.run({"do": "echo", "value": 3})
        output = await echo.output(timeout=30)
        stream = await AsyncEndpoint(streaming, session).run({"count": 2})
        return {
            "echo": output["echo"],
            "stream": [part async for part in stream.stream()],
            "health": sorted(await endpoint.health()),
        }


def wrong_key(plain: str) -> str:
    try:
        runpod.Endpoint(plain, api_key="wrong").health()
    except RuntimeError as error:
        return str(error)
    return "let in"


if __name__ == "__main__":
    plain_id, streaming_id = sys.argv[1:3]
    print(
        json.dumps(
            {
                "requests": with_requests(plain_id, streaming_id),
                "aiohttp": asyncio.run(with_aiohttp(plain_id, streaming_id)),
                "wrong_key": wrong_key(plain_id),
            }
        )
    )
