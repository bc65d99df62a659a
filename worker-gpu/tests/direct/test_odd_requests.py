"""Any input of a RunPod job gets a response that can be sent, and never `internal` for an invalid input."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from direct.harness import DirectHarness, direct_harness
from direct.test_answers import SAVE
from fakes.comfy import FakeComfy, Prompt
from worker_gpu.direct.request import MAX_DEPTH
from worker_gpu.handler import Handler
from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.lifecycle.ready import Ready

Anything: TypeAlias = st.SearchStrategy[Any]

WORDS = ("", "\ud83d", "\0", "../../etc/passwd", "data:,x", "data:image/png;base64,@", "https://x/y", "eA==", "é" * 400)
VALUES: tuple[Any, ...] = (
    0,
    -1,
    0.5,
    True,
    10**400,
    float("nan"),
    float("inf"),
    None,
    [],
    {},
    [[]],
    ["1", 0],
    {"a": [None]},
)
ODD: Anything = st.sampled_from([*WORDS, *VALUES])
ANY: Anything = st.recursive(
    ODD | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD.map(str) | st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NODE: Anything = st.fixed_dictionaries(
    {},
    optional={
        "class_type": st.sampled_from(["SaveImage", "X"]) | ANY,
        "inputs": st.dictionaries(st.sampled_from(["filename_prefix", "image", "\ud83d"]), ANY, max_size=3) | ANY,
        "_meta": ANY,
    },
)
WORKFLOW: Anything = (
    st.just(SAVE)
    | st.dictionaries(st.sampled_from(["1", "2", "a/b", "\ud83d", "x" * 400]), NODE | ANY, max_size=3)
    | st.just(json.dumps(SAVE))
    | ANY
)
PICTURE: Anything = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["a.png", "é\0", "..", ""]) | ANY, "image": ANY, "other": ANY}
)
INPUT: Anything = ANY | st.fixed_dictionaries(
    {},
    optional={
        "workflow": WORKFLOW,
        "images": st.lists(PICTURE | ANY, max_size=3) | ANY,
        "params": st.dictionaries(st.sampled_from(["1", "2"]), ANY, max_size=2) | ANY,
        "options": st.dictionaries(st.sampled_from(["metadata", "temp_outputs", "x"]), ANY, max_size=2) | ANY,
        "timeout": st.just(5) | ANY,
        "action": ANY,
        "job": ANY,
        "gateway": ANY,
        "token": ANY,
        "comfy_org_api_key": ANY,
    },
)
SENDERS_FAULT = {"invalid_request", "invalid_workflow", "invalid_ticket", "timeout"}


async def saying_hello(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
    await comfy.tell(prompt, "execution_start")
    return {"outputs": {"2": {"text": ["hello"]}}, "status": {"status_str": "success", "messages": []}}


@contextlib.asynccontextmanager
async def handler_of(harness: DirectHarness) -> AsyncGenerator[Handler]:
    """What the SDK calls, with the stage's ComfyUI and log."""
    context = harness.context
    handler = Handler(Ready(context.settings, context.comfy, context.known, None, context.timeouts, context.log))
    try:
        yield handler
    finally:
        await handler.close()


def test_odd_json_is_rejected_with_a_reason(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def open_both() -> tuple[DirectHarness, Handler]:
            harness = await stack.enter_async_context(direct_harness(tmp_path, saying_hello))
            return harness, await stack.enter_async_context(handler_of(harness))

        harness, handler = runner.run(open_both())
        seen: set[object] = set()

        @given(value=INPUT)
        @settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
        def ask(value: Json) -> None:
            answer = runner.run(asyncio.wait_for(handler({"id": "1", "input": value}, sent.append), 20))
            for sent_json in (answer, *sent):
                json.dumps(sent_json, ensure_ascii=False).encode()
            seen.add(answer.get("code"))
            assert answer.get("code") is None or answer["code"] in SENDERS_FAULT
            assert "Traceback" not in str(answer)
            assert "bug in the worker" not in harness.log.getvalue()

        sent: list[JsonObject] = []
        try:
            ask()
            # The generated inputs must lead to more than one kind of response.
            assert seen >= {None, "invalid_request", "invalid_workflow", "invalid_ticket"}
            assert list((harness.context.settings.data_dir / "spool").glob("*")) == []
        finally:
            runner.run(stack.aclose())


def nested(levels: int) -> Json:
    value: Json = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.asyncio
@pytest.mark.parametrize("levels", [MAX_DEPTH, 900, 100_000])
@pytest.mark.parametrize("field", ["workflow", "params", "images", "other"])
async def test_nesting_over_the_limit_is_rejected_with_a_reason(tmp_path: Path, levels: int, field: str) -> None:
    deep = nested(levels)
    given: JsonObject = {"workflow": {"2": {"class_type": "X", "inputs": {"a": deep}}}}
    if field != "workflow":
        given = {"workflow": SAVE, field: {"2": {"a": deep}} if field == "params" else deep}
    async with direct_harness(tmp_path, saying_hello) as harness:
        answer = await harness.run(given)

        assert answer["code"] in ("invalid_request", "invalid_workflow")
        assert "deep" in str(answer["error"])
        assert harness.comfy.prompts == []


@pytest.mark.asyncio
async def test_nesting_at_the_limit_runs(tmp_path: Path) -> None:
    graph: JsonObject = {"2": {"class_type": "X", "inputs": {"a": nested(MAX_DEPTH - 5)}}}
    async with direct_harness(tmp_path, saying_hello) as harness:
        assert "error" not in await harness.run({"workflow": graph})
        assert "error" not in await harness.run({"workflow": json.dumps(graph)})
