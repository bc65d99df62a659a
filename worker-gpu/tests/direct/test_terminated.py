"""SIGTERM in the middle of a job, in the SDK's production loop: the job comes to its end, and then the worker goes.

Whatever the job was at. The SDK asks for no more jobs; local/runpod kills a worker that takes ten seconds more.
"""

import asyncio
import contextlib
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from direct.platform import STEP_S, Platform, platform
from direct.test_platform import SAVE, slow
from fakes.gateway import FakeGateway, Job
from fakes.harness import JOB
from fakes.server import serving
from models.faulty_store import Asked, Fault, faulty_store
from models.samples import content, manifest_bytes, model
from worker_gpu.json_readers import Json, JsonObject, maybe_list, maybe_object

LORA = "loras/style.safetensors"
BODY = content(100_000)
STREAM = {"DIRECT_STREAM": "true"}


@dataclass
class Held:
    """A server that holds each request until it is released."""

    begun: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    def hold(self) -> None:
        """Hold the caller until the release."""
        self.begun.set()
        self.let.wait(STEP_S)


def ends_well(runpod: Platform, job: str, streamed: bool) -> JsonObject:
    """The response of a job that succeeded, on a worker that has exited."""
    status = runpod.end_of(job)
    assert status["status"] == "COMPLETED", status
    finished = runpod.event("job_finished", job=job)
    runpod.event("worker_exited", after=int(str(finished["n"])))
    return maybe_object(maybe_list(status["output"])[-1] if streamed else status["output"])


@pytest.mark.parametrize("streamed", [False, True])
def test_sigterm_lets_a_running_workflow_finish(tmp_path: Path, streamed: bool) -> None:
    with platform(tmp_path, STREAM if streamed else {}) as runpod:
        job = runpod.submit(slow(2))
        if streamed:
            runpod.chunk(job, "progress")
        else:
            runpod.event("job_progress", job=job)
        runpod.terminate_worker()
        assert len(maybe_list(ends_well(runpod, job, streamed)["images"])) == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_sigterm_lets_a_model_download_finish(tmp_path: Path, streamed: bool) -> None:
    held = Held()

    def script(asked: Asked) -> Fault | None:
        if asked.key == LORA:
            held.hold()
        return None

    with faulty_store() as store:
        store.objects |= {"manifest.json": manifest_bytes(model(LORA, BODY)), LORA: BODY}
        store.script = script
        env = {
            "MODELS_ENDPOINT_URL": store.url,
            "MODELS_BUCKET": "models",
            "MODELS_ACCESS_KEY_ID": "k",
            "MODELS_SECRET_ACCESS_KEY": "s",
            "MODELS_MIN_FREE_MB": "0",
            "MODELS_DIR": str(tmp_path / "models"),
        }
        with platform(tmp_path, {**env, **(STREAM if streamed else {})}) as runpod:
            image = {**maybe_object(maybe_object(SAVE["1"])["inputs"]), "lora_name": "style.safetensors"}
            first: JsonObject = {"class_type": "EmptyImage", "inputs": image}
            job = runpod.submit({"workflow": {"1": first, "2": SAVE["2"]}})
            assert held.begun.wait(STEP_S)
            runpod.terminate_worker()
            held.let.set()
            assert len(maybe_list(ends_well(runpod, job, streamed)["images"])) == 1
    assert (tmp_path / "models" / LORA).read_bytes() == BODY


@contextlib.contextmanager
def bucket(held: Held, stored: dict[str, bytes]) -> Generator[str]:
    """The URL of a bucket that accepts files after its release."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            held.hold()
            stored[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("etag", '"1"')
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Json) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving_it = threading.Thread(target=server.serve_forever, daemon=True)
    serving_it.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/out"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("streamed", [False, True])
def test_sigterm_lets_an_upload_finish(tmp_path: Path, streamed: bool) -> None:
    held, stored = Held(), dict[str, bytes]()
    with bucket(held, stored) as url:
        keys = {"BUCKET_ENDPOINT_URL": url, "BUCKET_ACCESS_KEY_ID": "k", "BUCKET_SECRET_ACCESS_KEY": "s"}
        with platform(tmp_path, {**keys, **(STREAM if streamed else {})}) as runpod:
            job = runpod.submit({"workflow": SAVE})
            assert held.begun.wait(STEP_S)
            runpod.terminate_worker()
            held.let.set()
            (picture,) = maybe_list(ends_well(runpod, job, streamed)["images"])
    assert maybe_object(picture)["type"] == "s3_url"
    assert [content.startswith(b"\x89PNG") for content in stored.values()] == [True]


@pytest.mark.asyncio
@pytest.mark.parametrize("during", ["inputs", "executing"])
async def test_sigterm_lets_a_job_of_the_gateway_finish(tmp_path: Path, during: str) -> None:
    """The gateway gets the report, RunPod the receipt."""
    graph = {node: maybe_object(fields) for node, fields in maybe_object(slow(2)["workflow"]).items()}
    gateway = FakeGateway(Job(JOB, graph))
    if during == "inputs":
        gateway.job.inputs["a.png"] = b"x" * 100
        gateway.hold_inputs = asyncio.Event()
    async with serving(gateway.application()) as gateway.url:
        with platform(tmp_path) as runpod:
            job = await asyncio.to_thread(runpod.submit, gateway.ticket())
            await asyncio.to_thread(runpod.event, "job_taken", job=job)
            sign = "progress" if during == "executing" else "stage"
            await gateway.notice.until(lambda: sign in gateway.types)
            await asyncio.to_thread(runpod.terminate_worker)
            if gateway.hold_inputs is not None:
                gateway.hold_inputs.set()
            receipt = await asyncio.to_thread(ends_well, runpod, job, streamed=False)
    assert (receipt["outcome"], gateway.report["outcome"]) == ("succeeded", "succeeded")
    assert list(gateway.outputs) == ["t_00001_.png"]
    assert gateway.violations == []
