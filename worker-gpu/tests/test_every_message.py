"""A fault at every single message of every recording: each ends in the right report, and none hangs."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from fakes.comfy import FakeComfy, Prompt, Script, frames_of, holding, put_files
from fakes.mortal import MortalComfy
from fakes.recordings import OLDEST, Recording, all_recordings
from fakes.stage import Stage, staged
from worker_gpu.contract import Receipt
from worker_gpu.shape import Json, JsonObject, maybe_object, maybe_text

pytestmark = pytest.mark.asyncio

RUN_S = 15.0
"""No run here takes a second; one that takes this long hangs."""


def ended(case: Recording) -> str:
    """How ComfyUI says that the recording ended."""
    return maybe_text(maybe_object((case.entry or {}).get("status")).get("status_str")) or ""


# One version: the others have the same messages in the same order, which `test_replay` plays.
RAN = [case for case in all_recordings(OLDEST) if case.accepted and case.entry is not None and ended(case)]
ACCEPTED = [case for case in all_recordings(OLDEST) if case.accepted]


async def bounded(stage: Stage) -> Receipt:
    async with asyncio.timeout(RUN_S):
        return await stage.run()


def expected_outcome(case: Recording) -> str:
    return "succeeded" if ended(case) == "success" else "failed"


def wanting_all(case: Recording, tmp_path: Path, script: Script) -> AbstractAsyncContextManager[Stage]:
    return staged(tmp_path, script, case.graph, change=lambda job: job.options.update(temp_outputs=True))


@pytest.mark.parametrize("case", RAN, ids=str)
async def test_a_socket_dropped_before_any_message_changes_nothing(case: Recording, tmp_path: Path) -> None:
    for cut in range(len(frames_of(case)) + 1):

        async def script(comfy: FakeComfy, prompt: Prompt, at: int = cut) -> JsonObject | None:
            entry = put_files(comfy, case, prompt)
            for number, frame in enumerate(frames_of(case, prompt)):
                if number == at:
                    await comfy.drop_sockets()
                await comfy.send(prompt, frame)
            return entry

        async with wanting_all(case, tmp_path / str(cut), script) as stage:
            receipt = await bounded(stage)
            assert receipt.outcome == expected_outcome(case), f"cut before message {cut}"


@pytest.mark.parametrize("case", RAN, ids=str)
async def test_a_comfyui_killed_before_any_message_fails_the_job_and_is_restarted(
    case: Recording, tmp_path: Path
) -> None:
    for cut in range(len(frames_of(case)) + 1):
        mortal: list[MortalComfy] = []

        async def script(comfy: FakeComfy, prompt: Prompt, at: int = cut) -> JsonObject | None:
            frames = frames_of(case, prompt)
            for frame in frames[:at]:
                await comfy.send(prompt, frame)
            await mortal[0].die()  # noqa: B023 -- one at a time
            await prompt.interrupted.wait()
            return None

        async with staged(tmp_path / str(cut), script, case.graph, engine=MortalComfy) as stage:
            engine = stage.place.comfy
            assert isinstance(engine, MortalComfy)
            mortal.append(engine)
            receipt = await bounded(stage)

            assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable"), f"killed before {cut}"
            error = maybe_object(stage.gateway.report["error"])
            assert maybe_object(error["details"])["comfyui_log"] == ["Segmentation fault"]
            assert engine.restarts == 1


@pytest.mark.parametrize("case", RAN, ids=str)
async def test_a_history_written_late_is_waited_for(case: Recording, tmp_path: Path) -> None:
    looks_before = 4

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        entry = put_files(comfy, case, prompt)
        for frame in frames_of(case, prompt):
            await comfy.send(prompt, frame)
        looked = f"GET /history/{prompt.prompt_id}"
        await comfy.notice.until(lambda: comfy.calls.count(looked) >= looks_before)
        return entry

    async with wanting_all(case, tmp_path, script) as stage:
        receipt = await bounded(stage)
        assert receipt.outcome == expected_outcome(case)


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
async def test_a_200_with_node_errors_fails_the_job_and_takes_the_prompt_back(case: Recording, tmp_path: Path) -> None:
    node = next(iter(case.graph))
    fault: JsonObject = {"type": "required_input_missing", "message": "Required input is missing", "details": "image"}
    errors: dict[str, Json] = {node: {"errors": [fault], "dependent_outputs": [node], "class_type": "X"}}
    async with wanting_all(case, tmp_path, holding()) as stage:
        stage.comfy.answer = (200, {"node_errors": errors})
        receipt = await bounded(stage)

        assert (receipt.outcome, receipt.code) == ("failed", "invalid_workflow")
        await stage.comfy.notice.until(lambda: stage.comfy.running is None)
