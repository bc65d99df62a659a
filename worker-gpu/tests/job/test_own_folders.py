"""Each job of a ComfyUI that the worker started has its own folders, and its outputs are the files that it wrote
there."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.comfy import PNG, FakeComfy, Prompt, Script, holding
from fakes.gateway import Job
from fakes.harness import job_harness
from worker_gpu.job.folders import ComfyFolders, Folders
from worker_gpu.json_readers import JsonObject, maybe_object

pytestmark = pytest.mark.asyncio

GRAPH: dict[str, JsonObject] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "ModelSave", "inputs": {"filename_prefix": "models/m"}},
    "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "models/more/t"}},
}


def folders_in(tmp_path: Path) -> ComfyFolders:
    """The existing folders of a ComfyUI that the worker started."""
    shared = Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp")
    for folder in (shared.input, shared.output, shared.temp, tmp_path / "baked"):
        folder.mkdir()
    return ComfyFolders(tmp_path / "jobs", shared, tmp_path / "baked")


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def ended(outputs: JsonObject) -> JsonObject:
    return {"outputs": outputs, "status": {"status_str": "success", "completed": True, "messages": []}}


def writing(names: tuple[str, ...], outputs: JsonObject | None = None) -> Script:
    """Writes `names` to the output folder of the job, and names that start with `temp:` to its temp folder."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        for name in names:
            path = prompt.own.temp / name[5:] if name.startswith("temp:") else prompt.own.output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PNG + b"of this run")
        return ended(outputs if outputs is not None else {"2": {"text": ["done"]}})

    return script


def with_inputs(*names: str) -> Callable[[Job], None]:
    return lambda job: job.inputs.update({name: f"content of {name}".encode() for name in names})


def image_of(value: str) -> dict[str, JsonObject]:
    return {"1": {"class_type": "LoadImage", "inputs": {"image": value}}}


async def test_comfyui_gets_the_workflow_as_it_was_sent(tmp_path: Path) -> None:
    graph: dict[str, JsonObject] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": ["3", 0]}},
        "3": {"class_type": "PrimitiveString", "inputs": {"value": "linked/x"}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "5": {"class_type": "SaveLoRA", "inputs": {"prefix": "../x"}, "_meta": {"title": "mine"}},
    }
    async with job_harness(
        tmp_path, writing(()), graph, folders=folders_in(tmp_path), change=with_inputs("a.png")
    ) as harness:
        await harness.run()

        (prompt,) = harness.comfy.prompts
        assert prompt.graph == graph


async def test_unlisted_files_are_outputs_of_the_node_that_wrote_them(tmp_path: Path) -> None:
    names = ("models/m_00001_.safetensors", "unknown.bin", ".cache/x.png", ".hidden.png", "temp:unlisted.png")
    folders = folders_in(tmp_path)
    async with job_harness(tmp_path, writing(names, {}), GRAPH, folders=folders) as harness:
        harness.comfy.writers["models/m_00001_.safetensors"] = "2"
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert {name: (o["node_id"], o["class_type"]) for name, o in harness.gateway.outputs.items()} == {
            "models/m_00001_.safetensors": ("2", "ModelSave"),
            "unknown.bin": ("", ""),
        }


async def test_listed_file_is_read_from_disk_and_stored_once(tmp_path: Path) -> None:
    output: JsonObject = {"images": [{"filename": "t.png", "subfolder": "", "type": "output"}]}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        (prompt.own.output / "t.png").write_bytes(PNG)
        await comfy.tell(prompt, "executed", node="3", display_node="3", output=output)
        return ended({"3": output})

    async with job_harness(tmp_path, script, GRAPH, folders=folders_in(tmp_path)) as harness:
        await harness.run()

        assert harness.gateway.content("t.png") == PNG
        assert harness.gateway.outputs["t.png"]["node_id"] == "3"
        assert harness.gateway.puts == 1
        assert "GET /view" not in harness.comfy.calls


async def test_temp_file_is_read_from_disk(tmp_path: Path) -> None:
    output: JsonObject = {"images": [{"filename": "t.png", "subfolder": "", "type": "temp"}]}

    def wanting_temp(job: Job) -> None:
        job.options["temp_outputs"] = True

    script = writing(("temp:t.png",), {"3": output})
    async with job_harness(tmp_path, script, GRAPH, folders=folders_in(tmp_path), change=wanting_temp) as harness:
        await harness.run()

        assert list(harness.gateway.outputs) == ["temp/t.png"]
        assert "GET /view" not in harness.comfy.calls


@pytest.mark.parametrize("subfolder", ["..", "../input", "/", "link", "../../../output"])
async def test_no_path_leads_out_of_the_output_folder(tmp_path: Path, subfolder: str) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    output: JsonObject = {"images": [{"filename": "secret.png", "subfolder": subfolder, "type": "output"}]}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        del comfy
        (prompt.own.input / "secret.png").write_bytes(PNG)
        (prompt.own.output / "link").symlink_to(tmp_path)
        return ended({"3": output})

    async with job_harness(tmp_path, script, GRAPH, folders=folders_in(tmp_path)) as harness:
        receipt = await harness.run()

        assert receipt.code == "output_missing"
        assert harness.gateway.puts == 0


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.png", "input/a.png"),
        ("pasted/image (1).png", "input/pasted/image (1).png"),
        ("clipspace/clipspace-mask-123.png [input]", "input/clipspace/clipspace-mask-123.png"),
        ("a.png [output]", "output/a.png"),
        ("sub\\a.png", "input/sub\\a.png"),
    ],
)
async def test_input_is_stored_where_comfyui_finds_its_name_and_deleted_after(
    tmp_path: Path, name: str, path: str
) -> None:
    seen: list[bytes] = []
    asked: list[JsonObject] = []

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        del comfy
        asked.append(maybe_object(prompt.extra["comfy_edge"]))
        seen.append((prompt.own.input.parent / path).read_bytes())
        return ended({"3": {"text": ["done"]}})

    folders = folders_in(tmp_path)
    async with job_harness(tmp_path, script, image_of(name), folders=folders, change=with_inputs(name)) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded", harness.log.getvalue()
        assert seen == [f"content of {name}".encode()]
        assert list(maybe_object(asked[0]["inputs"])) == [name]
        assert files_below(folders.jobs) == []


async def test_input_in_the_output_folder_is_not_an_output(tmp_path: Path) -> None:
    listed: JsonObject = {"result": ["mine.glb"], "text": ["done"]}
    script = writing((), {"3": listed})
    async with job_harness(
        tmp_path, script, GRAPH, folders=folders_in(tmp_path), change=with_inputs("mine.glb [output]")
    ) as harness:
        await harness.run()

        assert list(harness.gateway.outputs) == ["3.txt"]


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "a/../../b.png", "..", "a\0b"])
async def test_input_whose_name_leads_out_of_its_folder_fails_the_job(tmp_path: Path, name: str) -> None:
    folders = folders_in(tmp_path)
    async with job_harness(tmp_path, writing(()), GRAPH, folders=folders, change=with_inputs(name)) as harness:
        receipt = await harness.run()

        assert receipt.code == "input_fetch_failed"
        assert harness.comfy.prompts == []


async def test_baked_input_files_are_found_and_cannot_be_changed(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    assert folders.baked is not None
    (folders.baked / "set" / "deep").mkdir(parents=True)
    for name in ("example.png", "other.png", "set/1.png", "set/deep/2.png"):
        (folders.baked / name).write_bytes(b"baked")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folders.baked / "link.png").symlink_to(tmp_path / "secret.png")
    found: list[list[str]] = []

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        del comfy
        found.append(files_below(prompt.own.input))
        (prompt.own.input / "example.png").write_bytes(b"changed")
        return ended({"3": {"text": ["done"]}})

    names = ("example.png [input]", "set", "link.png", "nothing.png", "..", "")
    graph: dict[str, JsonObject] = {
        str(number): {"class_type": "Load", "inputs": {"image": name, "more": [{"deep": name}]}}
        for number, name in enumerate(names)
    }
    async with job_harness(tmp_path, script, graph, folders=folders) as harness:
        await harness.run()

    assert found == [["example.png", "set/1.png", "set/deep/2.png"]]
    assert (folders.baked / "example.png").read_bytes() == b"baked"


async def test_input_of_a_job_precedes_a_baked_one(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    assert folders.baked is not None
    (folders.baked / "a.png").write_bytes(b"baked")
    seen: list[bytes] = []

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        del comfy
        seen.append((prompt.own.input / "a.png").read_bytes())
        return ended({"3": {"text": ["done"]}})

    async with job_harness(tmp_path, script, GRAPH, folders=folders, change=with_inputs("a.png")) as harness:
        await harness.run()

    assert seen == [b"content of a.png"]


def failing(error: JsonObject) -> JsonObject:
    return {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", error]]}}


async def _failed(_comfy: FakeComfy, _prompt: Prompt) -> JsonObject | None:
    return failing({"exception_type": "ValueError", "exception_message": "no"})


@pytest.mark.parametrize(("end", "outcome"), [(_failed, "failed"), (holding(), "canceled"), (writing(()), "succeeded")])
async def test_no_file_of_a_job_is_left_after_any_end(
    tmp_path: Path, end: Callable[[FakeComfy, Prompt], Awaitable[JsonObject | None]], outcome: str
) -> None:
    """Files in its folders, and files of nodes that kept a path of ComfyUI's own folders from their import."""
    folders = folders_in(tmp_path)

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await writing(("Rodin3D_1/base.glb", ".dot", "temp:p.png"))(comfy, prompt)
        for folder in (folders.shared.input, folders.shared.output, folders.shared.temp):
            (folder / "deep").mkdir()
            (folder / "deep" / ".x.png").write_bytes(PNG)
        return await end(comfy, prompt)

    async with job_harness(tmp_path, script, GRAPH, folders=folders, change=with_inputs("a.png")) as harness:
        running = asyncio.create_task(harness.run())
        await harness.comfy.notice.until(lambda: bool(harness.comfy.prompts))
        if outcome == "canceled":
            await harness.gateway.notice.until(lambda: "executing" in harness.gateway.stages)
            await harness.gateway.say({"cancel": True, "reason": "client"})

        assert (await running).outcome == outcome
    assert files_below(folders.jobs) == []
    for folder in (folders.shared.input, folders.shared.output, folders.shared.temp):
        assert list(folder.rglob("*")) == []


async def test_retry_after_out_of_memory_starts_with_the_inputs_only(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    found: list[list[str]] = []

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        found.append(files_below(prompt.own.input.parent))
        entry = await writing((f"deep/try-{len(found)}.png",))(comfy, prompt)
        error: JsonObject = {"exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA out of memory"}
        return failing(error) if len(found) == 1 else entry

    change = with_inputs("a.png", "deep/b.png [output]")
    async with job_harness(tmp_path, script, GRAPH, folders=folders, change=change) as harness:
        await harness.run()

        assert list(harness.gateway.outputs) == ["2.txt", "deep/try-2.png"]
    assert found == [["input/a.png", "output/deep/b.png"]] * 2


async def test_undeleted_files_are_gone_before_the_next_job_starts(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    found: list[list[str]] = []

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        found.append(files_below(prompt.own.input.parent))
        return await writing(())(comfy, prompt)

    async with job_harness(tmp_path, script, GRAPH, folders=folders) as harness:
        for scope in (f"{harness.gateway.job.id}.{harness.gateway.job.attempt}", "another"):
            kept = folders.for_scope(scope)
            kept.prepare()
            (kept.roots[0][1] / "left.png").write_bytes(PNG)
        await harness.run()

        assert list(harness.gateway.outputs) == ["2.txt"]
    assert found == [[]]
