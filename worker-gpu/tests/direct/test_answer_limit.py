"""A response that RunPod would reject fails the job before it is sent (worker-comfyui#129)."""

import json
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from direct.harness import direct_harness, entries
from direct.test_answers import SAVE, listing
from fakes.comfy import PNG, FakeComfy, Prompt, Script, holding
from fakes.server import serving
from worker_gpu.direct.response import (
    ENVELOPE_BYTES,
    InlineFiles,
    ResponseBudget,
    build_response,
    response_size,
    wire_size,
)
from worker_gpu.direct.run import MAX_TEXT_BESIDE_BUCKET_BYTES
from worker_gpu.direct.settings import DirectSettings, OutputBucket
from worker_gpu.errors import JobError
from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.models.settings import Credentials
from worker_gpu.outputs.files import LocalFile
from worker_gpu.outputs.kinds import Kind
from worker_gpu.outputs.upload import NamedFile
from worker_gpu.wire.contract import Output


def saying(texts: list[str]) -> Script:
    """Node 2 lists `texts`."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        listed: list[Json] = list(texts)
        return {"outputs": {"2": {"text": listed}}, "status": {"status_str": "success", "messages": []}}

    return script


@pytest.mark.asyncio
@pytest.mark.parametrize("character", ["x", "é", '"'], ids=["plain", "two bytes", "escaped"])
async def test_response_limit_counts_texts(tmp_path: Path, character: str) -> None:
    size = 1_000_000 // len(json.dumps(character, ensure_ascii=False)[1:-1].encode())
    async with direct_harness(tmp_path, saying([character * size] * 9)) as harness:
        fitting = await harness.run({"workflow": SAVE})
        harness.comfy.script = saying([character * size] * 10)
        answer = await harness.run({"workflow": SAVE})

        assert len(entries(fitting, "text")) == 9
        assert wire_size({"output": fitting}) < 10_000_000
        assert answer["code"] == "output_too_large"
        assert "10 MB" in str(answer["error"])


@pytest.mark.asyncio
async def test_response_limit_counts_the_fields_of_each_file(tmp_path: Path) -> None:
    """A thousand images whose content alone would fit."""
    files = {f"frame_{number:05}_.png": PNG + bytes(7380 - len(PNG)) for number in range(1000)}
    async with direct_harness(tmp_path, listing(files)) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert answer["code"] == "output_too_large"
        assert "BUCKET_ENDPOINT_URL" in str(answer["error"])


@pytest.mark.asyncio
async def test_job_with_a_too_large_response_stops_before_its_end(tmp_path: Path) -> None:
    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        texts: list[Json] = ["x" * 1_000_000] * 10
        await comfy.tell(prompt, "execution_start")
        await comfy.tell(prompt, "executed", node="2", display_node="2", output={"text": texts})
        return await holding()(comfy, prompt)

    async with direct_harness(tmp_path, script) as harness:
        answer = await harness.run({"workflow": SAVE, "timeout": 20})

        assert answer["code"] == "output_too_large"
        assert harness.comfy.prompts[0].interrupted.is_set()


@pytest.mark.asyncio
async def test_with_a_bucket_long_texts_become_files_and_links_count(tmp_path: Path) -> None:
    stored: list[str] = []

    async def put(request: web.Request) -> web.Response:
        stored.append(request.path)
        await request.read()
        return web.Response()

    store = web.Application(client_max_size=2**24)
    store.router.add_put("/{key:.*}", put)
    long = "x" * (MAX_TEXT_BESIDE_BUCKET_BYTES + 1)
    async with serving(store) as url:
        bucket = OutputBucket(f"{url}/bk", Credentials("k", "s", "auto"))
        direct = DirectSettings(bucket=bucket, max_answer_bytes=30_000)
        async with direct_harness(tmp_path, saying([long, "short"]), direct) as harness:
            answer = await harness.run({"workflow": SAVE})
            assert stored == ["/bk/job-1/2.txt"]
            assert [entry["type"] for entry in entries(answer, "text")] == ["s3_url", "text"]

            harness.comfy.script = listing({f"{number}.png": PNG for number in range(60)})
            crowded = await harness.run({"workflow": SAVE})
            assert crowded["code"] == "output_too_large"
            assert "Links" in str(crowded["error"])


NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
OUTPUTS = st.lists(st.tuples(NAMES, st.binary(max_size=600) | st.text(max_size=400)), max_size=12)


@pytest.mark.asyncio
@given(outputs=OUTPUTS, limit=st.integers(ENVELOPE_BYTES, ENVELOPE_BYTES + 8000))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_response_is_rejected_only_above_the_limit(
    tmp_path: Path, outputs: list[tuple[str, bytes | str]], limit: int
) -> None:
    room, kept = ResponseBudget(limit, True, ""), InlineFiles()
    made: dict[str, Output] = {}
    for name, content in outputs:
        text = content if isinstance(content, str) and content.isprintable() else None
        raw = content.encode("utf-8", "replace") if isinstance(content, str) else content
        path = tmp_path / str(len(made))
        path.write_bytes(raw)
        file = LocalFile(path, len(raw), "0" * 64, Kind("file", "application/octet-stream"))
        made[name] = Output(name, "2", "X", "file", "application/octet-stream", len(raw), "0" * 64, None, False, text)
        await kept.put([NamedFile(name, file)], lambda _named, _key: None)
    answer = build_response(made.values(), kept, lambda key: key)

    def fits() -> bool:
        try:
            for output in made.values():
                room.add(output)
            room.check(answer)
        except JobError as error:
            assert error.code == "output_too_large"
            return False
        return True

    assert response_size(answer) == wire_size(answer)
    if fits():
        assert wire_size(answer) + ENVELOPE_BYTES <= limit
    else:
        # The size of an output counted alone exceeds its size in the response by at most a comma and the name of its
        # list.
        assert wire_size(answer) + ENVELOPE_BYTES + 8 * len(made) > limit
