"""Jobs that name an unavailable model: they fail with an error that says what to do, without running, and the next job
finds a working worker."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.comfy import playing
from fakes.harness import Harness, job_harness
from fakes.recordings import recording
from models.faulty_store import FaultyStore, Flipped, Status
from models.samples import CHUNK, content, manifest_bytes, model, settings, silent
from worker_gpu.job.required_models import job_error, models_for
from worker_gpu.json_readers import JsonObject, maybe_object, maybe_text
from worker_gpu.models.download.remote_file import hub_error
from worker_gpu.models.manifest.manifest import FromHub, FromUrl, Source
from worker_gpu.models.service import Models
from worker_gpu.models.settings import HUB, ModelSettings
from worker_gpu.wire.contract import Timings

pytestmark = pytest.mark.asyncio

PATH, OTHER = "loras/wanted.safetensors", "loras/other.safetensors"
BODY = content(CHUNK * 4, 1)
CASE = recording("success_image")


def graph(name: str) -> dict[str, JsonObject]:
    return {**CASE.graph, "9": {"class_type": "LoraLoader", "inputs": {"lora_name": name}}}


def offer(store: FaultyStore, source: Source | None = None) -> None:
    wanted = model(PATH, BODY, source=source, chunked=source is None)
    store.objects.update({"manifest.json": manifest_bytes(wanted, model(OTHER, BODY)), PATH: BODY, OTHER: BODY})


@asynccontextmanager
async def worker(
    tmp_path: Path, chosen: ModelSettings, workflow: dict[str, JsonObject]
) -> AsyncGenerator[tuple[Harness, Models]]:
    models = Models(chosen, silent())
    await models.start()
    try:
        async with job_harness(tmp_path, playing(CASE), workflow) as harness:
            harness.context.models = models
            yield harness, models
    finally:
        await models.close()


GATED = Status(401, b"", {"X-Error-Code": "GatedRepo"})
DENIED = Status(403, b"<Error><Code>AccessDenied</Code></Error>")
FAULTS: dict[str, tuple[Status | Flipped, Source | None, str, str, bool]] = {
    "a gated repository": (
        GATED,
        FromHub("lab/flux", "f.safetensors"),
        "model_missing",
        "lab/flux on Hugging Face is gated: accept",
        False,
    ),
    "missing in the bucket": (
        Status(404),
        None,
        "model_missing",
        f"{PATH} is in the manifest but not at its source",
        False,
    ),
    "a missing page": (Status(410), FromUrl("{}/x"), "model_missing", PATH, False),
    "a forbidden page": (Status(403), FromUrl("{}/x"), "model_missing", "its URL responded with 403", False),
    "wrong bytes": (Flipped(3), None, "model_missing", "does not match the manifest", False),
    "a bucket that denies access": (DENIED, None, "input_fetch_failed", "MODELS_ACCESS_KEY_ID (AccessDenied)", True),
    "a failing bucket": (Status(500), None, "input_fetch_failed", "failed after 8 attempts", True),
}


@pytest.mark.parametrize(("fault", "source", "code", "words", "retryable"), FAULTS.values(), ids=FAULTS.keys())
async def test_unavailable_model_fails_the_job_with_instructions(
    store: FaultyStore,
    tmp_path: Path,
    fault: Status | Flipped,
    source: Source | None,
    code: str,
    words: str,
    retryable: bool,
) -> None:
    if isinstance(source, FromUrl):
        source = FromUrl(source.url.format(store.url))
    offer(store, source)
    store.script = lambda asked: None if asked.key in ("manifest.json", OTHER) else fault
    chosen = replace(settings(tmp_path, store.bucket), hub=store.url)
    async with worker(tmp_path, chosen, graph("wanted.safetensors")) as (harness, models):
        receipt = await harness.run()
        assert (receipt.outcome, receipt.code) == ("failed", code)
        error = maybe_object(harness.gateway.report["error"])
        assert words.format(store.url) in (maybe_text(error["message"]) or "")
        assert error["retryable"] is retryable
        assert "local-secret" not in str(error)
        assert harness.comfy.prompts == []
        # The worker and its other models still work.
        async with models.needed_by(graph("other.safetensors")) as fetched:
            assert fetched.files == 1


@pytest.mark.parametrize(
    ("hub", "page"), [(HUB, "https://huggingface.co/lab/flux"), ("https://mirror.internal.example", None)]
)
async def test_gated_model_error_has_its_page_in_the_details(tmp_path: Path, hub: str, page: str | None) -> None:
    chosen = replace(settings(tmp_path, None), hub=hub)
    refusal = hub_error(FromHub("lab/flux", "f.safetensors"), PATH, 401, "GatedRepo", chosen)
    wire = job_error(refusal).to_wire()
    details: JsonObject = {"model_error": "model_denied", "model": PATH}
    assert wire["details"] == (details if page is None else {**details, "get_it_at": page})
    assert "mirror" not in str(wire)


async def test_full_disk_fails_the_job_but_not_the_worker(store: FaultyStore, tmp_path: Path) -> None:
    offer(store)
    chosen = replace(settings(tmp_path, store.bucket), min_free_bytes=2**60)
    async with worker(tmp_path, chosen, graph("wanted.safetensors")) as (harness, _):
        receipt = await harness.run()
        assert (receipt.outcome, receipt.code) == ("failed", "insufficient_resources")
        assert PATH in str(maybe_object(harness.gateway.report["error"])["message"])
    async with worker(tmp_path / "next", chosen, CASE.graph) as (harness, _):
        assert (await harness.run()).outcome == "succeeded"


async def test_download_progress_never_decreases(store: FaultyStore, tmp_path: Path) -> None:
    body = content(4_000_000, 2)
    file = model("loras/big.safetensors", body, chunk_bytes=250_000)
    store.objects.update({file.path: body, "manifest.json": manifest_bytes(file)})
    # Wrong bytes reduce the received bytes, which clients must not see.
    store.script = lambda asked: Flipped(5) if asked.key == file.path and asked.number in (0, 5) else None
    models = Models(settings(tmp_path, store.bucket), silent())
    await models.start()
    shown: list[str] = []
    timings = Timings()
    async with models_for(models, graph("big.safetensors"), shown.append, timings, lambda: 0.0):
        assert (tmp_path / "models" / file.path).read_bytes() == body
    await models.close()
    assert shown[-1] == "4 of 4 MB, 1 of 1 files"
    done = [int(line.partition(" ")[0]) for line in shown]
    assert done == sorted(done)
    assert len(shown) <= 21
