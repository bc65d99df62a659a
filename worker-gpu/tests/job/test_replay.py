"""Every recorded transcript of a real ComfyUI through the worker: the right events, outputs and errors come out."""

import asyncio
from pathlib import Path

import pytest

from fakes.comfy import CONTENT, Gate, files_in, holding, playing
from fakes.harness import job_harness
from fakes.recordings import FIXTURES, NO_PROMPT, Recording, all_recordings, recording
from worker_gpu.json_readers import JsonObject, maybe_list, maybe_object, maybe_text

RECORDED = all_recordings()
SUCCEEDED = [
    r for r in RECORDED if r.accepted and maybe_object((r.entry or {}).get("status")).get("status_str") == "success"
]
REFUSED = [r for r in RECORDED if not r.accepted]
TEMP_ONLY = "preview_is_temp_output"
CUTS = ["execution_start", "executing", "progress_state", "executed", "execution_success"]
"""Message types before which the socket is cut."""


def expected_files(case: Recording) -> dict[str, bytes]:
    """Names of a recording's output files, and what the fake holds under them."""
    return {
        (f"temp/{name}" if kind == "temp" else f"{below}/{name}" if below else name): CONTENT[name.rpartition(".")[2]]
        for kind, below, name in files_in(case.entry)
    }


def with_temp_outputs(case: Recording) -> bool:
    return case.case == TEMP_ONLY


def test_every_recording_is_replayed() -> None:
    reported = {(r.version, r.case) for r in RECORDED}
    assert reported == {(f.parent.name, f.stem) for f in FIXTURES.glob("*/*.json") if f.stem not in NO_PROMPT}
    ends = {r.case for r in SUCCEEDED} | {r.case for r in REFUSED} | {"execution_error", "interrupted"}
    assert {r.case for r in RECORDED} == ends


@pytest.mark.parametrize("case", SUCCEEDED, ids=str)
@pytest.mark.asyncio
async def test_a_recorded_success_gives_its_outputs_and_progress(case: Recording, tmp_path: Path) -> None:
    async with job_harness(
        tmp_path,
        playing(case),
        case.graph,
        change=lambda job: job.options.update(temp_outputs=with_temp_outputs(case)),
    ) as harness:
        receipt = await harness.run()

        gateway = harness.gateway
        assert receipt.outcome == "succeeded"
        files = {name: gateway.content(name) for name, output in gateway.outputs.items() if output["key"] is not None}
        assert files == expected_files(case)
        progress = [m for m in gateway.messages if m["type"] == "progress"]
        assert progress[-1]["value"] == 1
        assert progress[-1]["nodes_total"] == len(case.graph)
        reported = {
            maybe_text(maybe_object(m["output"])["name"]): m["output"] for m in gateway.messages if "output" in m
        }
        assert reported == gateway.outputs
        assert gateway.stages == ["executing", "uploading"]


@pytest.mark.parametrize("cut_before", CUTS)
@pytest.mark.parametrize("case", SUCCEEDED, ids=str)
@pytest.mark.asyncio
async def test_a_socket_lost_in_the_run_changes_nothing_about_its_end(
    case: Recording, cut_before: str, tmp_path: Path
) -> None:
    async with job_harness(
        tmp_path,
        playing(case, cut_before),
        case.graph,
        change=lambda job: job.options.update(temp_outputs=with_temp_outputs(case)),
    ) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        stored = {name for name, output in harness.gateway.outputs.items() if output["key"] is not None}
        assert stored == set(expected_files(case))


@pytest.mark.parametrize("case", REFUSED, ids=str)
@pytest.mark.asyncio
async def test_a_recorded_refusal_fails_the_job_with_its_node_errors(case: Recording, tmp_path: Path) -> None:
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        harness.comfy.answer = (case.status, case.answer)
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        expected = "model_missing" if case.case == "invalid_missing_model" else "invalid_workflow"
        assert (receipt.outcome, receipt.code) == ("failed", expected)
        assert (error["code"], error["at"], error["retryable"]) == (expected, "workflow", False)
        reported = maybe_object(maybe_object(error["details"])["node_errors"])
        assert set(reported) == set(maybe_object(case.answer.get("node_errors")))
        if len(reported) == 1:
            (only,) = reported
            assert maybe_object(error["node"])["id"] == only


@pytest.mark.asyncio
async def test_an_answer_of_200_with_node_errors_is_a_failure_and_takes_the_prompt_back(tmp_path: Path) -> None:
    case = recording("one_output_invalid_answers_200")
    async with job_harness(tmp_path, holding(), case.graph) as harness:
        harness.comfy.answer = (200, case.answer)
        await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert error["code"] == "invalid_workflow"
        assert error["message"] == "Custom validation failed for node: image - Invalid image file: missing.png"
        assert error["node"] == {"id": "9", "class_type": "LoadImage"}
        await harness.comfy.notice.until(lambda: harness.comfy.running is None)


@pytest.mark.parametrize("cut_before", [None, "execution_error"])
@pytest.mark.asyncio
async def test_a_recorded_error_of_a_node_names_node_and_cause(tmp_path: Path, cut_before: str | None) -> None:
    case = recording("execution_error")
    async with job_harness(tmp_path, playing(case, cut_before), case.graph) as harness:
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert (receipt.outcome, receipt.code) == ("failed", "out_of_memory")
        assert error["message"] == "CUDA out of memory. Tried to allocate 2.00 GiB (probe)"
        assert error["node"] == {"id": "9", "class_type": "Explode"}
        assert error["retryable"] is True
        assert "traceback" not in str(harness.gateway.report).lower()
        assert "POST /free" in harness.comfy.calls


@pytest.mark.parametrize("cut_before", [None, "execution_interrupted"])
@pytest.mark.asyncio
async def test_an_interrupt_that_the_worker_did_not_ask_for_fails_the_job(
    tmp_path: Path, cut_before: str | None
) -> None:
    case = recording("interrupted")
    async with job_harness(tmp_path, playing(case, cut_before), case.graph) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "execution_error")


@pytest.mark.asyncio
async def test_a_prompt_deleted_from_the_queue_is_noticed(tmp_path: Path) -> None:
    """As in queue_of_two_second_deleted: it leaves no history, and its client hears nothing."""
    case = recording("success_image")

    async def vanish(*_: object) -> JsonObject | None:
        return None

    async with job_harness(tmp_path, vanish, case.graph) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable")


@pytest.mark.parametrize("kind", ["previews_with_metadata", "progress_with_previews"])
@pytest.mark.asyncio
async def test_previews_reach_the_gateway_with_their_node(tmp_path: Path, kind: str) -> None:
    """With metadata they name their node; the older kind belongs to the node that runs."""
    case, gate = recording(kind), Gate("executed")
    async with job_harness(tmp_path, playing(case, gate=gate), case.graph) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: len(harness.gateway.previews) > 0)
        gate.open.set()
        await running

        assert harness.comfy.first_frames == ['{"type":"feature_flags","data":{"supports_preview_metadata":true}}']
        assert {maybe_text(p["node_id"]) for p in harness.gateway.previews} == {"5"}
        assert {maybe_text(p["content_type"]) for p in harness.gateway.previews} == {"image/jpeg"}


@pytest.mark.asyncio
async def test_no_previews_are_sent_to_a_client_that_wants_none(tmp_path: Path) -> None:
    case = recording("progress_with_previews")
    async with job_harness(
        tmp_path, playing(case), case.graph, change=lambda job: job.options.update(previews=False)
    ) as harness:
        await harness.run()

        assert harness.gateway.previews == []
        assert harness.comfy.prompts[0].extra == {"preview_method": "none"}


@pytest.mark.asyncio
async def test_text_travels_inline(tmp_path: Path) -> None:
    case = recording("text_preview_any")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        await harness.run()

        (output,) = maybe_list(harness.gateway.report["outputs"])
        shown = maybe_object(output)
        assert (shown["name"], shown["text"], shown["key"]) == ("2.txt", "hello", None)
        assert maybe_text(shown["class_type"]) == "PreviewAny"
