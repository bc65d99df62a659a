"""Whole jobs: a ticket in, a receipt out, with a gateway and a ComfyUI that hold the worker to its contracts."""

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.comfy import CONTENT, PNG, FakeComfy, Prompt, Script, playing
from fakes.gateway import Job
from fakes.harness import JOB, QUICK, job_harness
from fakes.recordings import object_info, recording
from worker_gpu.json_readers import Json, JsonObject, maybe_object

pytestmark = pytest.mark.asyncio

SAVE: dict[str, JsonObject] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
}
FOLDER = f"{JOB}.1"


def listing(output: JsonObject, files: dict[tuple[str, str, str], bytes]) -> Script:
    """Node 2 lists `output`; ComfyUI serves `files`."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        comfy.files.update(files)
        await comfy.tell(prompt, "execution_start")
        await comfy.tell(prompt, "executed", node="2", display_node="2", output=output)
        return {"outputs": {"2": output}, "status": {"status_str": "success", "completed": True, "messages": []}}

    return script


async def test_a_job_that_succeeds_is_claimed_run_uploaded_and_completed(tmp_path: Path) -> None:
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        receipt = await harness.run()

        gateway = harness.gateway
        assert (receipt.job, receipt.attempt, receipt.outcome, receipt.code) == (JOB, 1, "succeeded", None)
        assert receipt.execution_ms is not None
        assert gateway.report["outcome"] == "succeeded"
        assert gateway.content("t_00001_.png") == PNG
        assert gateway.stages == ["executing", "uploading"]
        assert maybe_object(gateway.report["worker"])["comfyui_version"] == "0.3.64"
        assert set(maybe_object(gateway.report["timings"])) == {
            *("claim_ms", "inputs_ms", "models_ms", "queue_ms", "execution_ms", "upload_ms", "total_ms"),
        }


async def test_after_a_job_its_history_and_spooled_files_are_gone(tmp_path: Path) -> None:
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        await harness.run()

        assert harness.comfy.deleted == [JOB]
        assert list((harness.context.settings.data_dir / "spool").glob("*")) == []


async def test_the_prompt_has_the_attempts_id_and_folder(tmp_path: Path) -> None:
    def second_attempt(job: Job) -> None:
        job.attempt, job.prompt_id = 2, "99999999-2222-3333-4444-555555555555"

    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph, change=second_attempt) as harness:
        await harness.run()

        (prompt,) = harness.comfy.prompts
        assert prompt.prompt_id == "99999999-2222-3333-4444-555555555555"
        assert prompt.folder == f"{JOB}.2"
        assert list(harness.gateway.outputs) == ["t_00001_.png"]


async def test_one_worker_runs_job_after_job_on_one_socket(tmp_path: Path) -> None:
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        await harness.run()
        harness.gateway.reports.clear()
        harness.gateway.messages.clear()
        harness.gateway.forget_claim()
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.comfy.connections == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "invalid_token"), (404, "job_not_found"), (409, "claimed_elsewhere"), (410, "job_over")],
)
async def test_a_refused_claim_runs_nothing(tmp_path: Path, status: int, code: str) -> None:
    async with job_harness(tmp_path, playing(recording("success_image")), SAVE) as harness:
        harness.gateway.refuse_claim = (status, code)
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("refused", code)
        assert harness.comfy.prompts == []
        assert harness.gateway.reports == []
        assert len(harness.gateway.claims) == 1


async def test_an_unanswered_claim_is_repeated_with_the_same_id(tmp_path: Path) -> None:
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        harness.gateway.faults["claim"] = [503, 0, 500]
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.gateway.claim_tries == 4
        assert {str(claim["claim"]) for claim in harness.gateway.claims} == {"00000000-0000-0000-0000-000000000001"}


async def test_every_call_survives_a_gateway_that_fails_now_and_then(tmp_path: Path) -> None:
    case = recording("two_outputs_subfolder")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        harness.gateway.faults = {
            "claim": [500],
            "channel": [503, 0],
            "uploads": [502, 0],
            "put": [500, 503, 0],
            "complete": [503, 0, 500],
        }
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert set(harness.gateway.outputs) == {"sub/dir/a_00001_.png", "b_00001_.png"}


async def test_a_listed_file_that_is_missing_fails_the_job(tmp_path: Path) -> None:
    gone: JsonObject = {"images": [{"filename": "gone_00001_.png", "subfolder": FOLDER, "type": "output"}]}
    async with job_harness(tmp_path, listing(gone, {}), SAVE) as harness:
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert (receipt.outcome, receipt.code) == ("failed", "output_missing")
        assert error["node"] == {"id": "2", "class_type": "SaveImage"}
        assert "gone_00001_.png" in str(error["message"])


async def test_a_graph_without_any_output_fails_the_job(tmp_path: Path) -> None:
    async with job_harness(tmp_path, listing({"animated": [True]}, {}), SAVE) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "output_missing")


@pytest.mark.parametrize("wanted", [True, False])
async def test_temp_files_are_outputs_only_when_asked_for(tmp_path: Path, wanted: bool) -> None:
    picture: JsonObject = {"filename": "x.png", "subfolder": "", "type": "temp"}
    saved: JsonObject = {"filename": "y.png", "subfolder": FOLDER, "type": "output"}
    files = {("temp", "", "x.png"): PNG, ("output", FOLDER, "y.png"): PNG}
    async with job_harness(
        tmp_path,
        listing({"images": [picture, saved]}, files),
        SAVE,
        change=lambda job: job.options.update(temp_outputs=wanted),
    ) as harness:
        await harness.run()

        expected = {"temp/x.png": True, "y.png": False} if wanted else {"y.png": False}
        assert {name: output["temp"] for name, output in harness.gateway.outputs.items()} == expected


async def test_every_kind_of_output_is_collected_with_its_type(tmp_path: Path) -> None:
    def listed(name: str, **more: Json) -> JsonObject:
        return {"filename": name, "subfolder": FOLDER, "type": "output", **more}

    content = {
        "a.mp4": CONTENT["mp4"],
        "b.flac": b"fLaC....",
        "c.latent": b"\x40\0\0\0\0\0\0\0{}",
        "d.bin": b"\0\1\2",
        "e.ply": b"ply\nformat binary",
        "f.txt": b"words",
        "g.glb": b"glTF\2\0\0\0",
    }
    output: JsonObject = {
        "gifs": [listed("a.mp4", format="video/h264-mp4", fullpath="/secret/a.mp4", workflow="a.png")],
        "audio": [listed("b.flac")],
        "latents": [listed("c.latent")],
        "files": [listed("d.bin"), listed("f.txt")],
        "result": [f"{FOLDER}/e.ply", {"position": {"x": 1}}, None],
        "3d": [listed("g.glb")],
        "text": ["said"],
        "images": [{"filename": "in.png", "subfolder": "", "type": "input"}],
    }
    files = {("output", FOLDER, name): data for name, data in content.items()}
    async with job_harness(tmp_path, listing(output, files), SAVE) as harness:
        await harness.run()

        kinds = {name: (o["type"], o["content_type"]) for name, o in harness.gateway.outputs.items()}
        assert kinds == {
            "a.mp4": ("video", "video/mp4"),
            "b.flac": ("audio", "audio/flac"),
            "c.latent": ("latent", "application/octet-stream"),
            "d.bin": ("file", "application/octet-stream"),
            "e.ply": ("3d", "application/octet-stream"),
            "f.txt": ("text", "text/plain; charset=utf-8"),
            "g.glb": ("3d", "model/gltf-binary"),
            "2.txt": ("text", "text/plain; charset=utf-8"),
        }
        assert harness.gateway.outputs["2.txt"]["text"] == "said"
        assert {name: harness.gateway.content(name) for name in content} == content


async def test_a_3d_path_that_lies_in_temp_is_found_there(tmp_path: Path) -> None:
    splat = {("temp", "3d", "s.ply"): b"ply\n"}
    async with job_harness(tmp_path, listing({"result": ["3d/s.ply"]}, splat), SAVE) as harness:
        await harness.run()

        assert harness.gateway.content("3d/s.ply") == b"ply\n"


async def test_equal_names_in_two_folders_stay_apart(tmp_path: Path) -> None:
    output: JsonObject = {
        "images": [
            {"filename": "a.png", "subfolder": f"{FOLDER}/x", "type": "output"},
            {"filename": "a.png", "subfolder": f"{FOLDER}/y", "type": "output"},
            {"filename": "a.png", "subfolder": "x", "type": "output"},
        ]
    }
    files = {
        ("output", f"{FOLDER}/x", "a.png"): PNG + b"1",
        ("output", f"{FOLDER}/y", "a.png"): PNG + b"2",
        ("output", "x", "a.png"): PNG + b"3",
    }
    async with job_harness(tmp_path, listing(output, files), SAVE) as harness:
        await harness.run()

        names = list(harness.gateway.outputs)
        assert names[:2] == ["x/a.png", "y/a.png"]
        assert [harness.gateway.content(name)[-1:] for name in names] == [b"1", b"2", b"3"]


async def test_long_text_goes_up_as_a_file(tmp_path: Path) -> None:
    text = "ä" * 600
    async with job_harness(tmp_path, listing({"text": [text]}, {}), SAVE) as harness:
        await harness.run()

        assert "text" not in harness.gateway.outputs["2.txt"]
        assert harness.gateway.content("2.txt") == text.encode()


async def test_too_many_outputs_fail_the_job(tmp_path: Path) -> None:
    images: list[Json] = [{"filename": f"{n}.png", "subfolder": FOLDER, "type": "output"} for n in range(3)]
    files = {("output", FOLDER, f"{n}.png"): PNG for n in range(3)}
    async with job_harness(
        tmp_path, listing({"images": images}, files), SAVE, change=lambda job: job.limits.update(max_outputs=2)
    ) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "output_too_large")


async def test_an_output_over_the_limit_fails_the_job_before_it_is_uploaded(tmp_path: Path) -> None:
    case = recording("success_image")
    async with job_harness(
        tmp_path, playing(case), case.graph, change=lambda job: job.limits.update(max_output_bytes=10)
    ) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "output_too_large")
        assert harness.gateway.puts == 0


async def test_a_worker_short_of_disk_fails_the_job_before_any_work(tmp_path: Path) -> None:
    async with job_harness(tmp_path, playing(recording("success_image")), SAVE, min_free_disk_bytes=2**60) as harness:
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert (receipt.outcome, receipt.code) == ("failed", "insufficient_resources")
        assert (error["at"], error["retryable"]) == ("worker", True)
        assert harness.comfy.prompts == []
        assert harness.gateway.stages == []


async def test_the_catalogue_is_sent_when_it_is_wanted(tmp_path: Path) -> None:
    classes = sorted(object_info())
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph, change=want_catalog) as harness:
        await harness.run()
        await harness.gateway.notice.until(lambda: len(harness.gateway.catalogs) == 1)

        assert harness.gateway.claims[0]["catalog"] == hashlib.sha256("\n".join(classes).encode()).hexdigest()
        (sent,) = harness.gateway.catalogs
        assert (sent["comfyui_version"], sent["classes"]) == ("0.3.64", classes)
        nodes = maybe_object(sent["nodes"])
        assert nodes["SaveImage"] == {"output": True, "required": ["images", "filename_prefix"]}
        assert nodes["ImageInvert"] == {"required": ["image"]}


def want_catalog(job: Job) -> None:
    """The gateway asks for the catalogue."""
    job.catalog_wanted = True


async def test_the_catalogue_is_sent_before_the_report_of_a_prompt_that_is_refused(tmp_path: Path) -> None:
    """An old catalogue refuses the very jobs that would replace it: none of those left may count on success."""
    async with job_harness(tmp_path, playing(recording("success_image")), SAVE, change=want_catalog) as harness:
        harness.comfy.answer = (400, {"error": {"type": "invalid_prompt", "message": "no"}, "node_errors": {}})
        harness.gateway.hold_catalog = asyncio.Event()
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "catalog" in harness.gateway.calls)
        harness.gateway.hold_catalog.set()

        assert (await running).code == "invalid_workflow"
        assert len(harness.gateway.catalogs) == 1


async def test_a_catalogue_that_hangs_holds_up_no_report(tmp_path: Path) -> None:
    case = recording("success_image")
    timeouts = replace(QUICK, catalog_s=0.05)
    async with job_harness(tmp_path, playing(case), case.graph, change=want_catalog, timeouts=timeouts) as harness:
        harness.gateway.hold_catalog = asyncio.Event()

        assert (await harness.run()).outcome == "succeeded"
        assert harness.gateway.catalogs == []


async def test_the_catalogue_is_asked_again_after_somebody_elses_comfyui_restarts(tmp_path: Path) -> None:
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph, change=want_catalog) as harness:
        assert harness.context.current is not None
        harness.comfy.nodes = {"EmptyImage": {}, "SaveImage": {"output_node": True}}
        await harness.comfy.drop_sockets()
        await harness.comfy.notice.until(lambda: harness.comfy.connections > 1)
        assert harness.context.current is None
        await harness.run()

        assert harness.gateway.claims[0]["catalog"] is None
        assert [catalog["classes"] for catalog in harness.gateway.catalogs] == [["EmptyImage", "SaveImage"]]


async def test_a_claim_that_makes_no_sense_is_reported_as_a_failure(tmp_path: Path) -> None:
    def no_prompt_id(job: Job) -> None:
        job.prompt_id = "not a uuid"

    async with job_harness(tmp_path, playing(recording("success_image")), SAVE, change=no_prompt_id) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "internal")
        assert maybe_object(harness.gateway.report["error"])["code"] == "internal"
        assert harness.comfy.prompts == []


async def test_log_lines_carry_job_and_attempt_and_no_prompt(tmp_path: Path) -> None:
    graph: dict[str, JsonObject] = {
        **SAVE,
        "9": {"class_type": "PrimitiveString", "inputs": {"value": "my secret wish"}},
    }
    async with job_harness(tmp_path, playing(recording("success_image")), graph) as harness:
        await harness.run()

        lines = [line for line in harness.log.getvalue().splitlines() if "claimed" in line or "job over" in line]
        assert len(lines) == 2
        assert all(f"job={JOB} attempt=1" in line for line in lines)
        assert "my secret wish" not in harness.log.getvalue()
