"""Warnings of a job with `options.metadata: false` about files that keep their workflow."""

from pathlib import Path

import pytest

from direct.harness import direct_harness
from direct.test_worker_comfyui_answer import file, listing
from fakes.comfy import CONTENT, PNG, FakeComfy, Prompt, Script
from fakes.gateway import Job
from fakes.harness import job_harness
from worker_gpu.direct.progress_sink import ProgressSink
from worker_gpu.json_readers import Json, JsonObject, maybe_list

pytestmark = pytest.mark.asyncio

JPEG = b"\xff\xd8\xff\xe0" + bytes(40)
WHOLE_PNG = b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IEND\xae\x42\x60\x82"
SAVE: dict[str, JsonObject] = {"2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "t/t"}}}
NOT_SUPPORTED = (
    "options.metadata: false is not supported for image/jpeg. a.jpg and other outputs of this type may contain the"
    " workflow."
)
DAMAGED = "options.metadata: false had no effect on a.png, which is damaged. It may contain the workflow."


def saving(files: dict[str, bytes], texts: list[Json] | None = None) -> Script:
    """Node 2 lists `files` and `texts`."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        listed: list[Json] = []
        for name, content in files.items():
            comfy.files[("output", prompt.folder, name)] = content
            listed.append({"filename": name, "subfolder": prompt.folder, "type": "output"})
        await comfy.tell(prompt, "execution_start")
        output: JsonObject = {"images": listed, "text": texts or []}
        return {"outputs": {"2": output}, "status": {"status_str": "success", "messages": []}}

    return script


async def logged(tmp_path: Path, script: Script, metadata: bool = False) -> list[tuple[Json, Json]]:
    """Level and text of each message for the job's log."""

    def options(job: Job) -> None:
        job.options["metadata"] = metadata

    async with job_harness(tmp_path, script, SAVE, change=options) as harness:
        assert (await harness.run()).outcome == "succeeded", harness.log.getvalue()
        return [(each["level"], each["message"]) for each in harness.gateway.messages if each["type"] == "log"]


async def test_a_job_logs_one_warning_for_each_unsupported_type(tmp_path: Path) -> None:
    script = saving({"a.jpg": JPEG, "b.jpg": JPEG, "c.gif": b"GIF89a" + bytes(40)})

    assert await logged(tmp_path, script) == [
        ("warn", f"metadata_not_removed: {NOT_SUPPORTED}"),
        ("warn", f"metadata_not_removed: {NOT_SUPPORTED}".replace("jpeg", "gif").replace("a.jpg", "c.gif")),
    ]


async def test_a_job_logs_a_warning_for_a_damaged_file(tmp_path: Path) -> None:
    assert await logged(tmp_path, saving({"a.png": PNG})) == [("warn", f"metadata_not_removed: {DAMAGED}")]


async def test_a_job_logs_no_warning_for_a_supported_type_or_a_text(tmp_path: Path) -> None:
    files = {"a.png": WHOLE_PNG, "b.txt": b"a note", "c.mp4": CONTENT["mp4"][:32]}

    assert await logged(tmp_path, saving(files, ["a text"])) == []


async def test_a_job_that_keeps_metadata_logs_no_warning(tmp_path: Path) -> None:
    assert await logged(tmp_path, saving({"a.jpg": JPEG}), metadata=True) == []


async def test_a_direct_answer_lists_warnings_beside_its_outputs(tmp_path: Path) -> None:
    output: JsonObject = {"images": [file("a.jpg"), file("b.jpg")]}
    async with direct_harness(tmp_path, listing(output, JPEG)) as harness:
        answer = await harness.run({"workflow": dict(SAVE), "options": {"metadata": False}})

        assert answer["warnings"] == [{"code": "metadata_not_removed", "message": NOT_SUPPORTED}]
        assert len(maybe_list(answer["images"])) == 2


async def test_a_direct_answer_without_warnings_has_no_list_of_them(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, listing({"images": [file("a.png")]}, WHOLE_PNG)) as harness:
        answer = await harness.run({"workflow": dict(SAVE), "options": {"metadata": False}})

        assert "warnings" not in answer


async def test_a_direct_job_keeps_a_repeated_warning_once() -> None:
    """As when the workflow runs again because memory ran out."""
    sink = ProgressSink(lambda _progress: None, None)
    for _ in range(2):
        sink.warning("metadata_not_removed", NOT_SUPPORTED)

    assert sink.warnings() == {"warnings": [{"code": "metadata_not_removed", "message": NOT_SUPPORTED}]}
