"""The calls that a job makes to ComfyUI and the files that it writes: none that it does not need."""

import asyncio
import base64
import hashlib
import io
import json
from pathlib import Path

import pytest

from direct.harness import direct_harness, entries
from direct.test_answers import SAVE
from fakes.comfy import PNG, FakeComfy, Prompt, Script, playing
from fakes.harness import job_harness
from fakes.recordings import Recording, all_recordings, recording
from job.test_own_folders import GRAPH, ended, folders_in
from worker_gpu.comfy.input_form import BLOCK_BYTES, InputForm
from worker_gpu.comfy.messages import parse_message
from worker_gpu.comfy.prompt_state import NodeOutput, PromptState, RunEnded
from worker_gpu.direct.progress import StatusReporter
from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.log import Log
from worker_gpu.outputs.collect import MAX_FETCHES

pytestmark = pytest.mark.asyncio

SUCCESSES = [r for r in all_recordings() if r.case in ("success_image", "two_outputs_subfolder", "success_cached")]


def calls_of(comfy: FakeComfy) -> list[str]:
    """Method and first word of the path of each call since the prompt was posted."""
    since = comfy.calls[comfy.calls.index("POST /prompt") :]
    return [f"{method} /{path.split('/')[1]}" for method, path in (call.split() for call in since)]


def saving(files: dict[str, bytes], then: tuple[str, ...] | None = None, succeeds: bool = True) -> Script:
    """Node 2 saves and lists `files`; once one of them is asked for, the nodes `then` run."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        listed: list[Json] = []
        for name, content in files.items():
            if prompt.has_own_folders:
                (prompt.own.output / name).write_bytes(content)
            comfy.files[("output", prompt.folder, name)] = content
            listed.append({"filename": name, "subfolder": prompt.folder, "type": "output"})
        output: JsonObject = {"images": listed}
        await comfy.tell(prompt, "execution_start", timestamp=1)
        await comfy.tell(prompt, "executed", node="2", display_node="2", output=output)
        if not prompt.has_own_folders and then is not None:
            await comfy.notice.until(lambda: "GET /view" in comfy.calls)
        for node in then or ():
            await comfy.tell(prompt, "executing", node=node, display_node=node)
        if succeeds:
            await comfy.tell(prompt, "execution_success", timestamp=2)
        return ended({"2": output})

    return script


@pytest.mark.parametrize("case", SUCCESSES, ids=str)
async def test_a_success_that_the_messages_tell_needs_no_history(case: Recording, tmp_path: Path) -> None:
    async with direct_harness(tmp_path, playing(case)) as harness:
        answer = await harness.run({"workflow": dict(case.graph), "options": {"temp_outputs": True}})

        calls = calls_of(harness.comfy)
        assert "error" not in answer
        assert "GET /history" not in calls
        assert calls.count("GET /view") == len(entries(answer, "images"))


async def test_a_prompt_in_its_own_folders_needs_no_history_where_the_report_came(tmp_path: Path) -> None:
    async with job_harness(tmp_path, saving({"a.png": PNG}), GRAPH, folders=folders_in(tmp_path)) as harness:
        await harness.run()

        assert list(harness.gateway.outputs) == ["a.png"]
        assert "GET /history" not in calls_of(harness.comfy)


async def test_a_prompt_whose_report_is_missing_is_looked_up_in_the_history(tmp_path: Path) -> None:
    async with job_harness(tmp_path, saving({"a.png": PNG}), GRAPH, folders=folders_in(tmp_path)) as harness:
        harness.comfy.reports_by_message = False
        await harness.run()

        assert list(harness.gateway.outputs) == ["a.png"]
        assert "GET /history" in calls_of(harness.comfy)


async def test_success_without_a_message_is_read_from_the_history(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, saving({"a.png": PNG}, succeeds=False)) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert len(entries(answer, "images")) == 1
        assert "GET /history" in calls_of(harness.comfy)


@pytest.mark.parametrize(("then", "views"), [((), 1), (("1",), 2)])
async def test_a_viewed_file_is_asked_for_again_only_if_a_node_ran_after(
    then: tuple[str, ...], views: int, tmp_path: Path
) -> None:
    async with direct_harness(tmp_path, saving({"a.png": PNG}, then)) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert base64.b64decode(str(entries(answer, "images")[0]["data"])) == PNG
        assert calls_of(harness.comfy).count("GET /view") == views


def happenings_of(run: PromptState, *messages: str) -> list[object]:
    found: list[object] = []
    for message in messages:
        parsed = parse_message(message)
        assert parsed is not None
        found += run.on_message(parsed)
    return found


def reported(kind: str, **data: Json) -> str:
    return json.dumps({"type": kind, "data": {**data, "prompt_id": "p"}})


START, SUCCESS, END = (
    reported("execution_start", timestamp=1_000),
    reported("execution_success", timestamp=2_000),
    reported("executing", node=None),
)
LISTED: JsonObject = {"text": ["x"]}


async def test_a_node_that_lists_twice_did_not_list_last() -> None:
    run = PromptState("p", {"1": "A"})
    listed = reported("executed", node="1", display_node="1", output=LISTED)
    end = happenings_of(run, START, listed, listed, SUCCESS, END)[-1]
    assert isinstance(end, RunEnded)
    assert (end.listed_last, end.outputs, end.began_ms) == (frozenset(), (("1", LISTED),), 1_000)


async def test_a_run_after_which_messages_may_be_missing_does_not_end_by_messages() -> None:
    run = PromptState("p", {"1": "A"})
    happenings_of(run, START, reported("executed", node="1", display_node="1", output=LISTED))
    run.on_messages_missed()
    assert not any(isinstance(event, RunEnded) for event in happenings_of(run, SUCCESS, END))


async def test_node_made_by_expansion_is_reported_as_the_node_it_replaces() -> None:
    run = PromptState("p", {"1": "A"})
    listed = reported("executed", node="1.0.3", display_node="1", output=LISTED)
    found = happenings_of(run, START, listed, SUCCESS, END)
    assert NodeOutput("1", LISTED) in found
    assert isinstance(found[-1], RunEnded)
    assert found[-1].outputs == (("1", LISTED),)


async def test_files_are_fetched_side_by_side_up_to_max_fetches(tmp_path: Path) -> None:
    files = {f"{number}.png": PNG + bytes([number]) for number in range(3 * MAX_FETCHES)}
    async with direct_harness(tmp_path, saving(files)) as harness:
        harness.comfy.view_s = 0.05
        await harness.run({"workflow": SAVE})

        assert harness.comfy.most_views == MAX_FETCHES


async def test_a_direct_job_of_small_files_makes_no_spool(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, saving({"a.png": PNG})) as harness:
        harness.context.settings.data_dir.mkdir(parents=True, exist_ok=True)
        await harness.run({"workflow": SAVE})

        assert not (harness.context.settings.data_dir / "spool").exists()


class CountedFile(io.BytesIO):
    """Counts the bytes that are read of it."""

    bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        self.bytes_read += len(block)
        return block


async def test_the_form_of_an_input_reads_its_file_once_and_is_named_by_its_hash() -> None:
    content = bytes(range(256)) * (BLOCK_BYTES // 128)
    file = CountedFile(content)
    form = InputForm(file, len(content), "job-inputs", "a.png")
    sent = b"".join([block async for block in form.body()])
    assert file.bytes_read == len(content)
    assert int(form.headers["content-length"]) == len(sent)
    assert f"job-inputs/{hashlib.sha256(content).hexdigest()}".encode() in sent[-400:]


async def test_an_input_of_a_direct_job_lies_below_its_hash_at_comfyui(tmp_path: Path) -> None:
    given: JsonObject = {
        "workflow": dict(recording("success_image").graph),
        "images": [{"name": "a b.png", "image": base64.b64encode(PNG).decode()}],
    }
    async with direct_harness(tmp_path, playing(recording("success_image"))) as harness:
        await harness.run(given)

        assert harness.comfy.inputs == {f"job-inputs/{hashlib.sha256(PNG).hexdigest()}/a_b.png": PNG}


async def test_a_job_over_in_its_first_moments_posts_no_progress() -> None:
    posted: list[JsonObject] = []

    async def post(message: JsonObject) -> None:
        posted.append(message)

    shown = StatusReporter(post, Log(io.StringIO()), gap_s=0, first_s=60)
    shown.update({"type": "stage", "stage": "executing"})
    await asyncio.sleep(0)
    await shown.close()
    assert posted == []


async def test_folders_that_the_job_before_left_ready_are_not_made_again(tmp_path: Path) -> None:
    folders = folders_in(tmp_path).for_scope("s")
    folders.prepare()
    (folders.roots[0][1] / "a.png").write_bytes(PNG)
    folders.make_ready()
    made = {path: path.stat().st_ino for path in (tmp_path / "jobs").rglob("*")}
    folders.prepare()
    assert {path: path.stat().st_ino for path in (tmp_path / "jobs").rglob("*")} == made
    assert len(made) == 5


async def test_folders_of_another_scope_are_gone_when_a_job_begins(tmp_path: Path) -> None:
    comfy = folders_in(tmp_path)
    comfy.for_scope("s").make_ready()
    comfy.for_scope("t").prepare()
    assert len(list((tmp_path / "jobs").iterdir())) == 1
    assert comfy.for_scope("t").roots[0][1].is_dir()
