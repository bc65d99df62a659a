"""The cases of test/fixtures/cases that need a ComfyUI: 10 and 14. The gateway's cases.test.ts has the others.

The engine is local/comfyui, started by the worker as in production.
"""

import asyncio
import base64
import itertools
import re
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from aiohttp import web

from fakes.gateway import Job
from fakes.own_comfyui import own_harness
from fakes.server import serving
from job.test_own_comfyui import Engine, running_engine
from worker_gpu.json_readers import Json, JsonObject, decode, maybe_list, maybe_object, need_object, need_text

pytestmark = pytest.mark.asyncio

CASES = Path(__file__).parents[3] / "test" / "fixtures" / "cases"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


class MinimalGateway:
    """The three routes that case 14 calls: submit a job, get a job, get an output. Each submit runs the worker."""

    def __init__(self, engine: Engine) -> None:
        self.url = ""
        self._engine = engine
        self._numbers = itertools.count(1)
        self._jobs: dict[str, JsonObject] = {}
        self._files: dict[tuple[str, str], bytes] = {}

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/v1/jobs", self._submit),
                web.get("/v1/jobs/{id}", self._job),
                web.get("/files/{id}/{name:.+}", self._file),
            ]
        )
        return app

    async def _submit(self, request: web.Request) -> web.Response:
        body = need_object(decode(await request.read()), "body")
        workflow = {node: maybe_object(fields) for node, fields in need_object(body["workflow"], "workflow").items()}

        def bring_inputs(job: Job) -> None:
            for each in map(maybe_object, maybe_list(body.get("inputs"))):
                job.inputs[need_text(each, "name")] = base64.b64decode(need_text(each, "data"))

        job_id = f"job-{next(self._numbers)}"
        async with own_harness(self._engine.settings, self._engine.comfy, workflow, bring_inputs) as harness:
            receipt = await harness.run()
            gateway = harness.gateway
            self._files |= {(job_id, name): gateway.content(name) for name in gateway.outputs}
        outputs: list[Json] = [{"name": name, "url": f"{self.url}/files/{job_id}/{name}"} for name in gateway.outputs]
        self._jobs[job_id] = {
            "id": job_id,
            "status": receipt.outcome,
            "error": gateway.report.get("error"),
            "outputs": outputs,
        }
        return web.json_response(self._jobs[job_id])

    async def _job(self, request: web.Request) -> web.Response:
        return web.json_response(self._jobs[request.match_info["id"]])

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self._files[request.match_info["id"], request.match_info["name"]])


async def test_case_10_pictures_of_saveimagewebsocket_become_outputs(engine: Engine) -> None:
    case = need_object(decode((CASES / "10-saveimagewebsocket.json").read_bytes()), "case")
    workflow = {node: maybe_object(fields) for node, fields in need_object(case["workflow"], "workflow").items()}
    async with own_harness(engine.settings, engine.comfy, workflow) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, list(harness.gateway.outputs)) == ("succeeded", ["2.png", "2_2.png"])
        for name, output in harness.gateway.outputs.items():
            assert output["class_type"] == "SaveImageWebsocket"
            assert harness.gateway.content(name).startswith(PNG_SIGNATURE)


async def test_case_14_a_graph_taken_from_a_picture_runs_again_under_the_same_names(engine: Engine) -> None:
    gateway = MinimalGateway(engine)
    async with serving(gateway.application()) as gateway.url:
        script = CASES / "14-png-metadata-roundtrip.py"
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), gateway.url, "key", stdout=asyncio.subprocess.PIPE
        )
        printed = (await process.communicate())[0].decode()

    assert process.returncode == 0, printed
    first, in_the_file, second, loaded = printed.splitlines()
    assert first == "first name  ComfyUI_00001_.png"
    sent: JsonObject = {"images": ["1", 0], "filename_prefix": "ComfyUI"}
    assert in_the_file == f"in the file {sent}"
    assert second == "second name ComfyUI_00001_.png"
    # The script cuts the name that the file has after 24 characters, and appends one.
    assert re.fullmatch(r"LoadImage in the file: me\.png .*: succeeded None", loaded), loaded
