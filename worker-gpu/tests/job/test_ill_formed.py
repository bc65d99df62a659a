"""What ComfyUI says and no UTF-8 or JSON can hold (lone surrogates, NaN) loses no report and no answer.

Python puts a byte of a file name that is not UTF-8 into a text as a lone surrogate (PEP 383), and ComfyUI's JSON
carries it on.
"""

import asyncio
import contextlib
import dataclasses
import io
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from runpod.serverless.modules.rp_http import send_result  # pyright: ignore[reportUnknownVariableType] -- untyped

from direct.harness import direct_harness
from fakes.comfy import PNG, FakeComfy, Prompt, Script
from fakes.harness import JOB, QUICK, job_harness
from fakes.server import serving
from job.test_job import SAVE, listing
from job.test_own_folders import folders_in
from worker_gpu.comfy.client import Catalog
from worker_gpu.direct.stream import stream_job
from worker_gpu.handler import Handler
from worker_gpu.json_readers import Json, JsonObject, decode, encode, maybe_list, maybe_object, well_formed
from worker_gpu.lifecycle.ready import Ready
from worker_gpu.log import Log
from worker_gpu.wire.client import GatewayClient
from worker_gpu.wire.contract import Report

HALF = "caf\udce9.png"
WHOLE = "caf\ufffd.png"


def failing(message: str, node: str = "2", once: asyncio.Event | None = None) -> Script:
    """`node` raises an exception with `message`: after its progress, and `once` that is set."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        await comfy.tell(prompt, "progress", node=node, value=float("nan"), max=4)
        if once is not None:
            await once.wait()
        error: JsonObject = {"node_id": node, "node_type": "X", "exception_type": "OSError"}
        messages: Json = [["execution_error", {**error, "exception_message": message}]]
        return {"outputs": {}, "status": {"status_str": "error", "messages": messages}}

    return script


@contextlib.asynccontextmanager
async def handler_of(tmp_path: Path, script: Script) -> AsyncGenerator[Handler]:
    """What the SDK would call, on a ComfyUI that plays `script`."""
    async with direct_harness(tmp_path, script) as harness:
        context = harness.context
        settings = dataclasses.replace(context.settings, data_dir=tmp_path / "handler")
        handler = Handler(Ready(settings, context.comfy, context.known, None, QUICK, Log(io.StringIO())))
        handler.open_early()
        await harness.comfy.notice.until(lambda: harness.comfy.connections > 1)
        try:
            yield handler
        finally:
            await handler.close()


@pytest.mark.asyncio
async def test_gateway_job_whose_error_has_a_lone_surrogate_is_reported(tmp_path: Path) -> None:
    async with job_harness(tmp_path, failing(f"No such file: '{HALF}'"), SAVE) as harness:
        receipt = await asyncio.wait_for(harness.run(), 20)

        assert (receipt.outcome, receipt.code) == ("failed", "execution_error")
        assert maybe_object(harness.gateway.report["error"])["message"] == f"No such file: '{WHOLE}'"
        assert harness.comfy.deleted == [JOB]
        assert "bug in the worker" not in harness.log.getvalue()


@pytest.mark.asyncio
async def test_names_and_texts_that_hold_a_lone_surrogate_are_stored_with_it_replaced(tmp_path: Path) -> None:
    output: JsonObject = {
        "images": [{"filename": "a.png", "subfolder": "", "type": "output"}],
        "text": [f"saved {HALF}"],
    }
    async with job_harness(tmp_path, listing(output, {("output", "", "a.png"): b"\x89PNG\r\n\x1a\n"}), SAVE) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        (text,) = [o for o in map(maybe_object, maybe_list(harness.gateway.report["outputs"])) if o["type"] == "text"]
        assert "saved caf" in str(text["text"])
        json.dumps(text, ensure_ascii=False).encode()


@pytest.mark.asyncio
async def test_files_whose_names_differ_in_what_is_no_unicode_are_each_stored(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        below = prompt.own.output
        (below / "caf\udce9.png").write_bytes(PNG)
        (below / "caf\udcea.png").write_bytes(PNG + b"2")
        images: list[Json] = [{"filename": HALF, "subfolder": "", "type": "output"}]
        output: JsonObject = {"images": images, "value": [HALF, f"/x/\ud83d/{HALF}"]}
        return {"outputs": {"2": output}, "status": {"status_str": "success", "messages": []}}

    async with job_harness(tmp_path, script, SAVE, folders=folders) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("succeeded", None)
        assert len([name for name in harness.gateway.outputs if name.endswith(".png")]) == 2
        assert "bug in the worker" not in harness.log.getvalue()


def test_a_node_class_that_is_no_unicode_keeps_no_worker_from_claiming() -> None:
    assert Catalog(("KSampler", HALF)).digest != Catalog(("KSampler", "caf\udcea.png")).digest


@pytest.mark.asyncio
async def test_a_report_that_cannot_be_sent_becomes_a_bare_one_and_the_workplace_is_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = GatewayClient.complete

    async def complete(self: GatewayClient, report: Report, *rest: Any) -> Any:
        if report.outputs:
            raise RuntimeError("a bug of ours")
        return await sending(self, report, *rest)

    monkeypatch.setattr(GatewayClient, "complete", complete)
    async with job_harness(tmp_path, listing({"text": ["hi"]}, {}), SAVE) as harness:
        receipt = await asyncio.wait_for(harness.run(), 20)

        assert (receipt.outcome, receipt.code) == ("failed", "internal")
        assert maybe_object(harness.gateway.report["error"])["code"] == "internal"
        assert harness.comfy.deleted == [JOB]
        assert list((harness.context.settings.data_dir / "spool").glob("*")) == []


@pytest.mark.asyncio
async def test_a_graph_with_a_lone_surrogate_runs_as_it_was_sent(tmp_path: Path) -> None:
    graph: JsonObject = {**SAVE, "1": {"class_type": "X", "inputs": {"text": "a \ud83d \U0001f600 é"}}}
    async with direct_harness(tmp_path, listing({"text": ["hi"]}, {})) as harness:
        answer = await harness.run({"workflow": graph})

        assert "error" not in answer
        assert maybe_object(harness.comfy.prompts[0].graph["1"])["inputs"] == {"text": "a \ud83d \U0001f600 é"}


@pytest.mark.asyncio
async def test_runpods_sdk_can_send_the_answer_of_a_direct_job_that_holds_a_lone_surrogate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        sent.append(await request.read())
        return web.Response()

    application = web.Application()
    application.router.add_post("/{any:.*}", take)
    async with handler_of(tmp_path, failing(f"No such file: '{HALF}'")) as handler, serving(application) as url:
        monkeypatch.setattr("runpod.serverless.modules.rp_http.JOB_DONE_URL", f"{url}/job-done/$ID?x=1")
        answer = await handler({"id": "1", "input": {"workflow": dict(SAVE)}}, lambda _told: None)
        assert answer["code"] == "execution_error"
        async with ClientSession() as session:
            await send_result(session, {"output": answer}, {"id": "1"})

    (body,) = sent
    assert WHOLE in body.decode()


@pytest.mark.asyncio
async def test_every_chunk_of_a_stream_can_be_sent(tmp_path: Path) -> None:
    given: JsonObject = {"id": "1", "input": {"workflow": {**SAVE, "\ud83d": {"class_type": HALF, "inputs": {}}}}}
    chunks: list[JsonObject] = []
    seen = asyncio.Event()
    async with handler_of(tmp_path, failing(HALF, "\ud83d", seen)) as handler:
        async for chunk in stream_job(lambda tell: handler(given, tell), 10_000_000, time.monotonic):
            chunks.append(chunk)
            if chunk.get("type") == "progress":
                seen.set()

    assert chunks[-1]["error"] == f"execution_error: {WHOLE}"
    for chunk in chunks:
        decode(json.dumps(chunk, ensure_ascii=False, allow_nan=False).encode())


@pytest.mark.asyncio
async def test_a_ticket_that_holds_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    async with handler_of(tmp_path, failing("x")) as handler:
        answer = await handler({"id": "1", "input": {"job": HALF, "gateway": "https://x"}}, lambda _told: None)
    assert answer == {"job": WHOLE, "attempt": None, "outcome": "refused", "code": "invalid_ticket"}


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_log_line_never_fails(form: Any) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "utf-8", "strict")
    Log(stream, form).info("x", cause=f"{HALF} and a space")
    assert WHOLE in raw.getvalue().decode()


def test_json_is_utf8_and_says_the_same_as_before() -> None:
    value: JsonObject = {"a": ["é 名 \U0001f600", HALF], HALF: 1}
    text = encode(value)
    assert decode(text.encode()) == value
    assert "é 名 \U0001f600" in text
    assert well_formed({**value, "n": [float("nan"), float("inf"), 1.5]}) == {
        "a": ["é 名 \U0001f600", WHOLE],
        WHOLE: 1,
        "n": [None, None, 1.5],
    }
