"""The models that a job names are present before ComfyUI gets its workflow."""

from pathlib import Path

import pytest

from direct.harness import direct_harness, entries
from direct.test_answers import listing
from fakes.comfy import PNG, FakeComfy, Prompt
from models.faulty_store import faulty_store
from models.samples import content, manifest_bytes, model, settings, silent
from worker_gpu.json_readers import JsonObject
from worker_gpu.models.service import Models

pytestmark = pytest.mark.asyncio

LORA = "loras/style.safetensors"
BODY = content(100_000)
GRAPH: JsonObject = {
    "1": {"class_type": "LoraLoader", "inputs": {"lora_name": "style.safetensors"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
}


async def test_job_fetches_a_model_before_it_runs_and_shows_that(tmp_path: Path) -> None:
    seen: list[bool] = []

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        seen.append((tmp_path / "models" / LORA).is_file())
        return await listing({"a.png": PNG})(comfy, prompt)

    with faulty_store() as store:
        file = model(LORA, BODY)
        store.objects["manifest.json"] = manifest_bytes(file)
        store.objects[LORA] = BODY
        models = Models(settings(tmp_path, store.bucket), silent())
        await models.start()
        try:
            async with direct_harness(tmp_path, script) as harness:
                harness.context.models = models
                answer = await harness.run({"workflow": GRAPH})
        finally:
            await models.close()

    assert [entry["filename"] for entry in entries(answer, "images")] == ["a.png"]
    assert seen == [True]
    assert harness.updates[0]["stage"] == "models"
    assert "of 0 MB, 1 of 1 files" in str(
        [update.get("message") for update in harness.updates if "message" in update][-1]
    )


async def test_missing_model_fails_the_job_before_it_runs(tmp_path: Path) -> None:
    with faulty_store() as store:
        store.objects["manifest.json"] = manifest_bytes(model(LORA, BODY))
        models = Models(settings(tmp_path, store.bucket), silent())
        await models.start()
        try:
            async with direct_harness(tmp_path, listing({})) as harness:
                harness.context.models = models
                answer = await harness.run({"workflow": GRAPH})
                assert harness.comfy.prompts == []
        finally:
            await models.close()

    assert answer["code"] == "model_missing"
    assert LORA in str(answer["details"])
