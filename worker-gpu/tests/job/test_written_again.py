"""A file that is written again after its node listed it: the job gets the final content."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from direct.harness import direct_harness, entries
from fakes.comfy import FakeComfy, Prompt, Script
from fakes.harness import JOB, Harness, job_harness
from job.test_own_folders import GRAPH, ended, folders_in
from worker_gpu.json_readers import JsonObject, maybe_object

pytestmark = pytest.mark.asyncio

FOLDER = f"{JOB}.1"


def writing_twice(
    write: Callable[[FakeComfy, Prompt, bytes], None], first_stored: Callable[[], Awaitable[None]], again: bool
) -> Script:
    """Node 3 writes log.txt and lists it, and writes it again once it is stored. Lists it a second time if `again`."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        output: JsonObject = {"files": [{"filename": "log.txt", "subfolder": prompt.folder, "type": "output"}]}
        await comfy.tell(prompt, "execution_start")
        write(comfy, prompt, b"line 1\n")
        await comfy.tell(prompt, "executed", node="3", display_node="3", output=output)
        await first_stored()
        write(comfy, prompt, b"line 1\nline 2\n")
        if again:
            await comfy.tell(prompt, "executed", node="3", display_node="3", output=output)
        return ended({"3": output})

    return script


@pytest.mark.parametrize("again", [True, False])
async def test_rewritten_file_is_uploaded_again_even_if_not_listed_again(tmp_path: Path, again: bool) -> None:
    folders = folders_in(tmp_path)
    stages: list[Harness] = []

    def write(_comfy: FakeComfy, prompt: Prompt, content: bytes) -> None:
        (prompt.own.output / "log.txt").write_bytes(content)

    async def stored() -> None:
        await stages[0].gateway.notice.until(lambda: "output" in stages[0].gateway.types)

    async with job_harness(tmp_path, writing_twice(write, stored, again), GRAPH, folders=folders) as harness:
        stages.append(harness)
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.gateway.content("log.txt") == b"line 1\nline 2\n"
        sizes = [maybe_object(m["output"])["size_bytes"] for m in harness.gateway.messages if m["type"] == "output"]
        assert sizes == [7, 14]


async def test_rewritten_file_is_read_again_by_url(tmp_path: Path) -> None:
    stages: list[Harness] = []

    def write(comfy: FakeComfy, prompt: Prompt, content: bytes) -> None:
        comfy.files[("output", prompt.folder, "log.txt")] = content

    async def stored() -> None:
        await stages[0].gateway.notice.until(lambda: "output" in stages[0].gateway.types)

    async with job_harness(tmp_path, writing_twice(write, stored, again=True), GRAPH) as harness:
        stages.append(harness)
        await harness.run()

        assert harness.gateway.content("log.txt") == b"line 1\nline 2\n"


async def test_unchanged_file_is_uploaded_once(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    stages: list[Harness] = []

    def write(_comfy: FakeComfy, prompt: Prompt, content: bytes) -> None:
        path = prompt.own.output / "log.txt"
        if not path.exists():
            path.write_bytes(content)

    async def stored() -> None:
        await stages[0].gateway.notice.until(lambda: "output" in stages[0].gateway.types)

    async with job_harness(tmp_path, writing_twice(write, stored, again=True), GRAPH, folders=folders) as harness:
        stages.append(harness)
        await harness.run()

        assert harness.gateway.puts == 1
        assert harness.gateway.types.count("output") == 1


async def test_direct_response_has_size_and_hash_of_the_final_content(tmp_path: Path) -> None:
    def write(comfy: FakeComfy, prompt: Prompt, content: bytes) -> None:
        comfy.files[("output", prompt.folder, "log.txt")] = content

    async def stored() -> None:
        await harness.comfy.notice.until(lambda: any(message["type"] == "output" for message in harness.updates))

    async with direct_harness(tmp_path, writing_twice(write, stored, again=True)) as harness:
        answer = await harness.run({"workflow": dict(GRAPH)})

        (entry,) = entries(answer, "text")
        assert (entry["data"], entry["size_bytes"]) == ("bGluZSAxCmxpbmUgMgo=", 14)


async def test_failed_upload_of_a_file_being_written_does_not_fail_the_job(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    stages: list[Harness] = []

    def write(_comfy: FakeComfy, prompt: Prompt, content: bytes) -> None:
        (prompt.own.output / "log.txt").write_bytes(content)

    async def refused() -> None:
        await stages[0].gateway.notice.until(lambda: stages[0].gateway.calls.count("uploads") >= 2)

    async with job_harness(tmp_path, writing_twice(write, refused, again=False), GRAPH, folders=folders) as harness:
        stages.append(harness)
        harness.gateway.faults["put"] = [403] * 3
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.gateway.content("log.txt") == b"line 1\nline 2\n"
