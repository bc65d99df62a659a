"""A job of the gateway whose graph names models: its client sees them come, and can look up later which ones ran."""

from pathlib import Path

import pytest

from fakes.comfy import playing
from fakes.harness import job_harness
from fakes.recordings import recording
from models.faulty_store import faulty_store
from models.samples import content, manifest_bytes, model, settings, silent
from worker_gpu.json_readers import JsonObject
from worker_gpu.models.service import Models

LORA = "loras/style.safetensors"
OTHER = "loras/other.safetensors"


@pytest.mark.asyncio
async def test_the_client_sees_models_come_and_which_ones_ran(tmp_path: Path) -> None:
    case = recording("success_image")
    graph = {**case.graph, "9": JsonObject(class_type="LoraLoader", inputs={"lora_name": "style.safetensors"})}
    body = content(100_000)
    with faulty_store() as store:
        file = model(LORA, body)
        store.objects["manifest.json"] = manifest_bytes(file, model(OTHER, body))
        store.objects[LORA] = body
        models = Models(settings(tmp_path, store.bucket), silent())
        await models.start()
        try:
            async with job_harness(tmp_path, playing(case), graph) as harness:
                harness.context.models = models
                receipt = await harness.run()

                assert receipt.outcome == "succeeded"
                assert list(dict.fromkeys(harness.gateway.stages)) == ["models", "executing", "uploading"]
                ran_with = harness.gateway.report["ran_with"]
                assert isinstance(ran_with, dict)
                assert ran_with["models"] == [{"path": LORA, "sha256": file.sha256}]
                free = ran_with["disk_free_bytes"]
                assert isinstance(free, int)
                assert free > 0
        finally:
            await models.close()
