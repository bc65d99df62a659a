"""Files in the folders of a ComfyUI of ours: read from disk, found without being listed, and no others."""

from pathlib import Path

import pytest

from fakes.comfy import PNG, FakeComfy, Prompt
from fakes.gateway import Job
from fakes.stage import JOB, staged
from worker_gpu.boot import Folders
from worker_gpu.shape import JsonObject, maybe_object

pytestmark = pytest.mark.asyncio

GRAPH: dict[str, JsonObject] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "ModelSave", "inputs": {"filename_prefix": "models/m"}},
    "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "models/more/t"}},
}


def folders_in(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp")
    for folder in (folders.input, folders.output, folders.temp):
        folder.mkdir()
    return folders


def ended(outputs: JsonObject) -> JsonObject:
    return {"outputs": outputs, "status": {"status_str": "success", "completed": True, "messages": []}}


async def test_files_that_no_node_lists_are_found_and_told_by_the_node_that_saved_them(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        del comfy
        below = folders.output / prompt.folder
        for name in ("models/m_00001_.safetensors", "models/more/t_00001_.png", "unknown.bin"):
            (below / name).parent.mkdir(parents=True, exist_ok=True)
            (below / name).write_bytes(PNG)
        return ended({})

    (folders.output / "of-another-job.png").write_bytes(PNG)
    async with staged(tmp_path, script, GRAPH, folders=folders) as stage:
        receipt = await stage.run()

        assert receipt.outcome == "succeeded"
        assert {name: (o["node_id"], o["class_type"]) for name, o in stage.gateway.outputs.items()} == {
            "models/m_00001_.safetensors": ("2", "ModelSave"),
            "models/more/t_00001_.png": ("3", "SaveImage"),
            "unknown.bin": ("", ""),
        }
        assert [path.name for path in folders.output.iterdir()] == ["of-another-job.png"]


async def test_a_listed_file_is_read_from_disk_and_taken_once(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    output: JsonObject = {"images": [{"filename": "t.png", "subfolder": f"{JOB}.1", "type": "output"}]}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        (folders.output / prompt.folder).mkdir()
        (folders.output / prompt.folder / "t.png").write_bytes(PNG)
        await comfy.tell(prompt, "executed", node="3", display_node="3", output=output)
        return ended({"3": output})

    async with staged(tmp_path, script, GRAPH, folders=folders) as stage:
        await stage.run()

        assert stage.gateway.content("t.png") == PNG
        assert stage.gateway.puts == 1
        assert "GET /view" not in stage.comfy.calls


@pytest.mark.parametrize("subfolder", ["..", "../input", "/", "link"])
async def test_no_path_leads_out_of_the_output_folder(tmp_path: Path, subfolder: str) -> None:
    folders = folders_in(tmp_path)
    (tmp_path / "secret.png").write_bytes(PNG)
    (folders.input / "secret.png").write_bytes(PNG)
    (folders.output / "link").symlink_to(tmp_path)
    output: JsonObject = {"images": [{"filename": "secret.png", "subfolder": subfolder, "type": "output"}]}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        del comfy, prompt
        return ended({"3": output})

    async with staged(tmp_path, script, GRAPH, folders=folders) as stage:
        receipt = await stage.run()

        assert receipt.code == "output_missing"
        assert stage.gateway.puts == 0


async def test_an_input_is_put_into_the_input_folder_and_removed_again(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    seen: list[bytes] = []

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        del comfy
        path = maybe_object(maybe_object(prompt.graph["1"])["inputs"])["image"]
        seen.append((folders.input / str(path)).read_bytes())
        return ended({"3": {"text": ["done"]}})

    def with_input(job: Job) -> None:
        job.inputs["a.png"] = b"picture"

    async with staged(tmp_path, script, GRAPH, folders=folders, change=with_input) as stage:
        receipt = await stage.run()

        assert receipt.outcome == "succeeded"
        assert seen == [b"picture"]
        assert [path for path in folders.input.rglob("*") if path.is_file()] == []
