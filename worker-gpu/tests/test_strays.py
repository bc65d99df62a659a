"""Files that a run writes into ComfyUI's output folder outside of the job's own: outputs of that job, gone after it."""

import asyncio
import os
from pathlib import Path

import pytest

from fakes.comfy import PNG, FakeComfy, Prompt, Script, holding
from fakes.stage import staged
from test_own_folders import ended, folders_in
from worker_gpu.boot import Folders
from worker_gpu.outputs import strays as strays_module
from worker_gpu.outputs.strays import Strays
from worker_gpu.outputs.walk import FileRef
from worker_gpu.shape import JsonObject, maybe_object

GRAPH: dict[str, JsonObject] = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    "3": {"class_type": "SaverOfItsOwn", "inputs": {"images": ["1", 0]}},
    "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
}


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def writing(folders: Folders, names: tuple[str, ...], output: JsonObject | None = None) -> Script:
    """Writes `names` below the output folder; node 3 lists `output`."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        for name in names:
            path = folders.output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PNG + b"of this run")
        return ended({"3": output} if output is not None else {"2": {"text": ["done"]}})

    return script


@pytest.mark.asyncio
async def test_what_a_run_writes_elsewhere_in_the_output_folder_is_the_jobs_and_is_gone_afterwards(
    tmp_path: Path,
) -> None:
    folders = folders_in(tmp_path)
    (folders.output / "kept").mkdir()
    (folders.output / "kept" / "earlier.png").write_bytes(PNG)
    (folders.output / "kept" / "log.txt").write_bytes(b"line 1")
    written = ("loras/x_00001_.safetensors", "kept/new.png", "kept/log.txt", ".cache/x.png")
    async with staged(tmp_path, writing(folders, written), GRAPH, folders=folders) as stage:
        await stage.run()

        assert list(stage.gateway.outputs) == ["2.txt", "kept/log.txt", "kept/new.png", "loras/x_00001_.safetensors"]
        assert stage.gateway.outputs["kept/new.png"]["node_id"] == ""
        assert stage.gateway.content("kept/log.txt") == PNG + b"of this run"
        assert files_below(folders.output) == [".cache/x.png", "kept/earlier.png"]
        assert not (folders.output / "loras").exists()


@pytest.mark.asyncio
async def test_a_failed_job_leaves_nothing_in_the_output_folder(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await writing(folders, ("Rodin3D_1/base.glb",))(comfy, prompt)
        error: JsonObject = {"exception_type": "ValueError", "exception_message": "no"}
        return {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", error]]}}

    async with staged(tmp_path, script, GRAPH, folders=folders) as stage:
        receipt = await stage.run()

        assert receipt.code == "execution_error"
        assert list(folders.output.iterdir()) == []


@pytest.mark.asyncio
async def test_a_canceled_job_leaves_nothing_in_the_output_folder(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await writing(folders, ("Rodin3D_1/base.glb",))(comfy, prompt)
        return await holding()(comfy, prompt)

    async with staged(tmp_path, script, GRAPH, folders=folders) as stage:
        running = asyncio.create_task(stage.run())
        await stage.comfy.notice.until(lambda: stage.comfy.running is not None)
        await stage.gateway.notice.until(lambda: "executing" in stage.gateway.stages)
        await stage.gateway.say({"cancel": True, "reason": "client"})

        assert (await running).outcome == "canceled"
        assert list(folders.output.iterdir()) == []


@pytest.mark.asyncio
async def test_a_try_that_ran_out_of_memory_leaves_no_files_to_the_next(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    tries = 0

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        nonlocal tries
        tries += 1
        entry = await writing(folders, (f"try-{tries}.png",))(comfy, prompt)
        error: JsonObject = {"exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA out of memory"}
        failed: JsonObject = {"status_str": "error", "messages": [["execution_error", error]]}
        return {"outputs": {}, "status": failed} if tries == 1 else entry

    async with staged(tmp_path, script, GRAPH, folders=folders) as stage:
        await stage.run()

        assert list(stage.gateway.outputs) == ["2.txt", "try-2.png"]


@pytest.mark.asyncio
async def test_a_file_that_comfyui_may_list_again_from_its_cache_stays(tmp_path: Path) -> None:
    """Node 3 is built on by node 4, so it is not made to run anew: the next job may be told of this file again."""
    folders = folders_in(tmp_path)
    listed: JsonObject = {"images": [{"filename": "own_00001_.png", "subfolder": "", "type": "output"}]}
    script = writing(folders, ("own_00001_.png", "unlisted.png"), listed)
    async with staged(tmp_path, script, GRAPH, folders=folders) as stage:
        await stage.run()

        assert list(stage.gateway.outputs) == ["own_00001_.png", "unlisted.png"]
        assert files_below(folders.output) == ["own_00001_.png"]


@pytest.mark.asyncio
@pytest.mark.parametrize("own", [False, True])
async def test_an_output_node_at_the_end_runs_anew_where_its_files_are_deleted(tmp_path: Path, own: bool) -> None:
    folders = folders_in(tmp_path)
    async with staged(tmp_path, writing(folders, ()), GRAPH, folders=folders if own else None) as stage:
        await stage.run()

        (prompt,) = stage.comfy.prompts
        marked = [
            node for node, about in prompt.graph.items() if "comfy_edge_run" in str(maybe_object(about)["inputs"])
        ]
        assert marked == (["4"] if own else [])


@pytest.mark.asyncio
async def test_a_folder_with_too_much_in_it_is_said_and_the_jobs_own_files_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays_module, "MAX_ENTRIES", 3)
    folders = folders_in(tmp_path)
    for number in range(4):
        (folders.output / f"{number}.png").write_bytes(PNG)
    async with staged(tmp_path, writing(folders, ("new.png",)), GRAPH, folders=folders) as stage:
        await stage.run()

        assert list(stage.gateway.outputs) == ["2.txt"]
        assert "too much in the output folder" in stage.log.getvalue()
        assert (folders.output / "new.png").exists()


def test_a_file_replaced_by_another_of_its_size_and_time_is_new(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    strays = Strays(tmp_path, "job.1")
    strays.begin()
    fresh = tmp_path / "b.png"
    fresh.write_bytes(b"two")
    os.utime(fresh, ns=(1, 1))
    fresh.replace(path)
    assert strays.found() == [FileRef("a.png", "", "output")]


def test_links_unfinished_files_and_the_jobs_own_folder_are_passed_over(tmp_path: Path) -> None:
    output = tmp_path / "output"
    (output / "job.1").mkdir(parents=True)
    strays = Strays(output, "job.1")
    strays.begin()
    (tmp_path / "secret.png").write_bytes(PNG)
    (output / "link.png").symlink_to(tmp_path / "secret.png")
    (output / "folder").symlink_to(tmp_path)
    (output / "job.1" / "a.png").write_bytes(PNG)
    (output / "job.10").mkdir()
    (output / "job.10" / "b.png").write_bytes(PNG)
    (output / "c.png.graphless").write_bytes(PNG)
    assert strays.found() == [FileRef("b.png", "job.10", "output")]
    strays.remove(())
    assert (tmp_path / "secret.png").exists()
    assert (output / "job.1" / "a.png").exists()
    assert not (output / "job.10").exists()


def test_nothing_is_found_before_it_began(tmp_path: Path) -> None:
    strays = Strays(tmp_path, "job.1")
    (tmp_path / "a.png").write_bytes(PNG)
    strays.remove(())
    assert strays.found() == []
    assert (tmp_path / "a.png").exists()
