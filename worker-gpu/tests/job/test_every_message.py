"""A fault at every message of each shape of recording: each ends in the right report, and none hangs."""

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.comfy import FakeComfy, Prompt, Script, frames_of, holding, put_files
from fakes.harness import Harness, job_harness
from fakes.killable import KillableComfy
from fakes.recordings import OLDEST, PINNED, Recording, all_recordings
from worker_gpu.json_readers import Json, JsonObject, maybe_object, maybe_text
from worker_gpu.wire.contract import Receipt

RUN_S = 15.0
"""No run here takes a second; one that takes this long hangs."""


def ended(case: Recording) -> str:
    """How ComfyUI says that the recording ended."""
    return maybe_text(maybe_object((case.entry or {}).get("status")).get("status_str")) or ""


@dataclass(frozen=True)
class Played:
    """A recording, played by a ComfyUI with or without the jobs API."""

    case: Recording
    jobs_api: bool

    def __str__(self) -> str:
        return f"{self.case}{'-jobs-api' if self.jobs_api else ''}"


ENDS = frozenset(
    {
        *("success_image", "success_cached", "text_preview_any", "preview_is_temp_output", "previews_with_metadata"),
        *("execution_error", "interrupted"),
    }
)
"""Each way to end. The other cases have the same messages in the same order in both versions (`test_replay` plays them
all), and what the jobs API changes is how their end is found."""


def accepted(cases: Iterable[Recording], jobs_api: bool) -> list[Played]:
    return [Played(case, jobs_api) for case in cases if case.accepted]


ACCEPTED = [
    *accepted(all_recordings(OLDEST), jobs_api=False),
    *accepted((case for case in all_recordings(PINNED) if case.case in ENDS), jobs_api=True),
]
RAN = [played for played in ACCEPTED if played.case.entry is not None and ended(played.case)]

SHAPES = ENDS | {"progress_with_previews", "queue_order_front_and_number"}
"""Each way to end, and runs with previews in between and with messages of other prompts. The other recordings differ in
their files only: `test_replay` plays each, and cuts its socket at each kind of message."""

CUT = list({(played.case.case, played.jobs_api): played for played in RAN if played.case.case in SHAPES}.values())
"""One recording of each shape, to be cut before every one of its messages."""


def test_each_way_to_end_is_played_with_the_jobs_api() -> None:
    assert {played.case.case for played in RAN if played.jobs_api} == ENDS


async def bounded(harness: Harness) -> Receipt:
    async with asyncio.timeout(RUN_S):
        return await harness.run()


def expected_outcome(case: Recording) -> str:
    return "succeeded" if ended(case) == "success" else "failed"


def wanting_all(played: Played, tmp_path: Path, script: Script) -> AbstractAsyncContextManager[Harness]:
    return job_harness(
        tmp_path,
        script,
        played.case.graph,
        jobs_api=played.jobs_api,
        change=lambda job: job.options.update(temp_outputs=True),
    )


@pytest.mark.parametrize("played", CUT, ids=str)
@pytest.mark.asyncio
async def test_a_socket_dropped_before_any_message_changes_nothing(played: Played, tmp_path: Path) -> None:
    case = played.case
    for cut in range(len(frames_of(case)) + 1):

        async def script(comfy: FakeComfy, prompt: Prompt, at: int = cut) -> JsonObject | None:
            entry = put_files(comfy, case, prompt)
            for number, frame in enumerate(frames_of(case, prompt)):
                if number == at:
                    await comfy.drop_sockets()
                await comfy.send(prompt, frame)
            return entry

        async with wanting_all(played, tmp_path / str(cut), script) as harness:
            receipt = await bounded(harness)
            assert receipt.outcome == expected_outcome(case), f"cut before message {cut}"


@pytest.mark.parametrize("played", CUT, ids=str)
@pytest.mark.asyncio
async def test_a_comfyui_killed_before_any_message_fails_the_job_and_is_restarted(
    played: Played, tmp_path: Path
) -> None:
    case = played.case
    for cut in range(len(frames_of(case)) + 1):
        killable: list[KillableComfy] = []

        async def script(comfy: FakeComfy, prompt: Prompt, at: int = cut) -> JsonObject | None:
            frames = frames_of(case, prompt)
            for frame in frames[:at]:
                await comfy.send(prompt, frame)
            await killable[0].die()  # noqa: B023 -- one at a time
            await prompt.interrupted.wait()
            return None

        async with job_harness(
            tmp_path / str(cut), script, case.graph, jobs_api=played.jobs_api, engine=KillableComfy
        ) as harness:
            engine = harness.context.comfy
            assert isinstance(engine, KillableComfy)
            killable.append(engine)
            receipt = await bounded(harness)

            assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable"), f"killed before {cut}"
            error = maybe_object(harness.gateway.report["error"])
            assert maybe_object(error["details"])["comfyui_log"] == ["Segmentation fault"]
            assert engine.restarts == 1


@pytest.mark.parametrize("played", RAN, ids=str)
@pytest.mark.asyncio
async def test_a_history_written_late_is_waited_for(played: Played, tmp_path: Path) -> None:
    case = played.case
    looks_before = 4

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        entry = put_files(comfy, case, prompt)
        for frame in frames_of(case, prompt):
            await comfy.send(prompt, frame)
        looked = f"GET /history/{prompt.prompt_id}"
        await comfy.notice.until(lambda: comfy.calls.count(looked) >= looks_before)
        return entry

    async with wanting_all(played, tmp_path, script) as harness:
        receipt = await bounded(harness)
        assert receipt.outcome == expected_outcome(case)
        asked = f"GET /api/jobs/{harness.comfy.prompts[0].prompt_id}" in harness.comfy.calls
        assert asked == played.jobs_api


@pytest.mark.parametrize("played", ACCEPTED, ids=str)
@pytest.mark.asyncio
async def test_a_200_with_node_errors_fails_the_job_and_takes_the_prompt_back(played: Played, tmp_path: Path) -> None:
    case = played.case
    node = next(iter(case.graph))
    fault: JsonObject = {"type": "required_input_missing", "message": "Required input is missing", "details": "image"}
    errors: dict[str, Json] = {node: {"errors": [fault], "dependent_outputs": [node], "class_type": "X"}}
    async with wanting_all(played, tmp_path, holding()) as harness:
        harness.comfy.answer = (200, {"node_errors": errors})
        receipt = await bounded(harness)

        assert (receipt.outcome, receipt.code) == ("failed", "invalid_workflow")
        await harness.comfy.notice.until(lambda: harness.comfy.running is None)
