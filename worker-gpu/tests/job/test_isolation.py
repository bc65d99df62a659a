"""What one job leaves in a warm worker, and that nothing of it reaches the next (docs/reference/isolation.md). The
engine is local/comfyui, which executes for real; `tests/real` shows the same of ComfyUI itself."""

from collections.abc import Generator

import aiohttp
import pytest

from fakes.gateway import Job
from fakes.own_comfyui import OwnHarness, own_harness
from job.test_own_comfyui import Engine, files_below, png, running_engine
from worker_gpu.json_readers import JsonObject, decode, maybe_object

pytestmark = pytest.mark.asyncio

SECRET: dict[str, JsonObject] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 4242}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "secret/s"}},
    "4": {"class_type": "PrimitiveString", "inputs": {"value": "a secret text"}},
    "5": {"class_type": "SaveText", "inputs": {"text": ["4", 0], "filename_prefix": ".secret", "format": "txt"}},
}
"""What the first job does. Each job is of another scope, as those of two accounts are."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


def wanting_temp(job: Job) -> None:
    job.options["temp_outputs"] = True


async def first_job(engine: Engine) -> list[str]:
    """Run the first job; gives the names of its files, as ComfyUI called them."""
    async with own_harness(engine.settings, engine.comfy, SECRET, wanting_temp) as harness:
        assert (await harness.run()).outcome == "succeeded"
        names = list(harness.gateway.outputs)
    assert len(names) == 3
    return [name.removeprefix("temp/") for name in names]


async def shown_in_next(engine: Engine, shown: JsonObject) -> OwnHarness:
    """Run a job that lists `shown` as the file of a 3D node."""
    graph: dict[str, JsonObject] = {
        "8": {"class_type": "PrimitiveString", "inputs": {"value": "done"}},
        "9": {"class_type": "PreviewAny", "inputs": {"source": ["8", 0]}},
        **{node: maybe_object(about) for node, about in shown.items()},
    }
    async with own_harness(engine.settings, engine.comfy, graph, wanting_temp) as harness:
        await harness.run()
        return harness


def preview_of(path: str) -> JsonObject:
    return {"7": {"class_type": "Preview3D", "inputs": {"model_file": path}}}


@pytest.mark.parametrize(
    "form",
    [
        "temp/{name}",
        "{name}",
        "{name} [temp]",
        "{name} [output]",
        "output/{name}",
        "{data}/temp/{name}",
        "{data}/output/{name}",
        "../temp/{name}",
        "../../{other}/temp/{name}",
        "../../{other}/output/{name}",
        "{data}/jobs/{other}/temp/{name}",
        "{data}/jobs/{other}/output/{name}",
    ],
)
async def test_a_file_of_the_job_before_is_no_output_by_its_exact_name(engine: Engine, form: str) -> None:
    """Not even where it could not be deleted, as here."""
    names = await first_job(engine)
    assert any(name.startswith("ComfyUI_temp_") for name in names)
    other = engine.data / "jobs" / "another"
    try:
        for name in names:
            for folder in ("temp", "output"):
                (other / folder / name).parent.mkdir(parents=True, exist_ok=True)
                (other / folder / name).write_bytes(b"\x89PNG\r\n\x1a\nsecret")
            path = form.format(name=name, data=engine.data, other=other.name)

            harness = await shown_in_next(engine, preview_of(path))

            assert list(harness.gateway.outputs) == ["9.txt"], path
    finally:
        for path in files_below(other):
            path.unlink()


async def test_a_computed_name_of_a_file_of_the_job_before_is_no_output(engine: Engine) -> None:
    for name in await first_job(engine):
        joined: JsonObject = {"string_a": "te", "string_b": f"mp/{name}", "delimiter": ""}
        harness = await shown_in_next(
            engine,
            {
                "6": {"class_type": "StringConcatenate", "inputs": joined},
                "7": {"class_type": "Preview3D", "inputs": {"model_file": ["6", 0]}},
            },
        )

        assert list(harness.gateway.outputs) == ["9.txt"]


@pytest.mark.parametrize("annotation", ["", " [temp]", " [output]", " [input]"])
async def test_a_file_of_the_job_before_cannot_be_loaded(engine: Engine, annotation: str) -> None:
    for name in await first_job(engine):
        graph: dict[str, JsonObject] = {
            "1": {"class_type": "LoadImage", "inputs": {"image": f"{name}{annotation}"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
        }
        async with own_harness(engine.settings, engine.comfy, graph) as harness:
            receipt = await harness.run()

            assert receipt.code == "invalid_workflow"
            assert harness.gateway.outputs == {}


async def test_an_input_of_the_job_before_is_not_there_under_its_name(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "me.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    }

    def with_input(job: Job) -> None:
        job.inputs["me.png"] = png(7)

    async with own_harness(engine.settings, engine.comfy, graph, with_input) as one:
        assert (await one.run()).outcome == "succeeded"
    async with own_harness(engine.settings, engine.comfy, graph) as two:
        assert (await two.run()).code == "invalid_workflow"


async def test_the_same_job_gives_the_same_bytes_again(engine: Engine) -> None:
    graph = {node: about for node, about in SECRET.items() if node in ("1", "3")}
    found: list[dict[str, bytes]] = []
    for _ in range(2):
        async with own_harness(engine.settings, engine.comfy, graph) as harness:
            await harness.run()
            found.append({name: harness.gateway.content(name) for name in harness.gateway.outputs})
    assert found[0] == found[1]
    assert list(found[0]) == ["secret/s_00001_.png"]


async def test_results_that_a_text_went_into_are_not_kept_for_another_scope(engine: Engine) -> None:
    await first_job(engine)
    async with own_harness(engine.settings, engine.comfy, SECRET) as harness:
        await harness.run()

        reported = [maybe_object(m.get("nodes")) for m in harness.gateway.messages if m["type"] == "progress"]
        states = {node: str(maybe_object(state)["state"]) for nodes in reported for node, state in nodes.items()}
    assert states == {"1": "cached", "2": "finished", "3": "finished", "4": "finished", "5": "finished"}


async def test_results_are_kept_for_a_job_of_the_same_scope(engine: Engine) -> None:
    """Such as two jobs of one account."""

    def of_one_scope(job: Job) -> None:
        job.scope = "an account's"

    for expected in ("finished", "cached"):
        async with own_harness(engine.settings, engine.comfy, SECRET, of_one_scope) as harness:
            assert (await harness.run()).outcome == "succeeded"

            reported = [maybe_object(m.get("nodes")) for m in harness.gateway.messages if m["type"] == "progress"]
            states = {node: str(maybe_object(state)["state"]) for nodes in reported for node, state in nodes.items()}
        assert states["4"] == expected
        assert states["5"] == "finished"


async def test_history_queue_and_view_have_nothing_of_a_job_that_is_over(engine: Engine) -> None:
    names = await first_job(engine)
    async with aiohttp.ClientSession(engine.comfy.url) as http:

        async def get(path: str) -> tuple[int, bytes]:
            async with http.get(path) as response:
                return response.status, await response.read()

        assert decode((await get("/history"))[1]) == {}
        assert decode((await get("/queue"))[1]) == {"queue_running": [], "queue_pending": []}
        for name in names:
            below, _, last = name.rpartition("/")
            for folder in ("output", "temp", "input"):
                status, _ = await get(f"/view?filename={last}&subfolder={below}&type={folder}")
                assert status == 404


async def test_no_file_of_a_job_is_left_in_the_workers_folder(engine: Engine) -> None:
    await first_job(engine)
    kept = {path.relative_to(engine.data).as_posix() for path in files_below(engine.data)}
    assert kept <= {"worker_paths.yaml", "comfyui.db"}
