"""Whole jobs: a ticket in, a receipt out, with a gateway and a ComfyUI that hold the worker to its contracts."""

from pathlib import Path

import pytest

from fakes.comfy import CONTENT, PNG, playing
from fakes.recordings import recording
from fakes.stage import JOB, staged

pytestmark = pytest.mark.asyncio


async def test_a_job_that_succeeds_is_claimed_run_uploaded_and_completed(tmp_path: Path) -> None:
    case = recording("success_image")
    async with staged(tmp_path, playing(case), case.graph) as stage:
        receipt = await stage.run()

        assert receipt.to_wire()["outcome"] == "succeeded"
        assert stage.gateway.report["outcome"] == "succeeded"
        assert stage.gateway.content("t_00001_.png") == PNG
        assert stage.gateway.stages == ["executing", "uploading"]
        assert stage.gateway.types[-1] == "output" or "output" in stage.gateway.types
        assert stage.comfy.deleted == [JOB]


async def test_a_video_in_a_subfolder_keeps_its_path_and_kind(tmp_path: Path) -> None:
    case = recording("save_video_mp4")
    async with staged(tmp_path, playing(case), case.graph) as stage:
        await stage.run()

        output = stage.gateway.outputs["video/v_00001_.mp4"]
        assert (output["type"], output["content_type"]) == ("video", "video/mp4")
        assert stage.gateway.content("video/v_00001_.mp4") == CONTENT["mp4"]
