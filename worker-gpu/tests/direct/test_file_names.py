"""Names of input files and paths in a direct job's workflow, tested with the cases of the gateway."""

import base64
from pathlib import Path

import pytest

from direct.harness import direct_harness
from direct.test_answers import listing
from fakes.comfy import PNG
from worker_gpu.direct.file_names import clashing, name_problem, with_linux_paths
from worker_gpu.json_readers import Json, JsonObject, decode, maybe_list, maybe_object

CASES = maybe_object(decode((Path(__file__).parents[3] / "test" / "fixtures" / "file-names.json").read_bytes()))
PATHS = [maybe_object(case) for case in maybe_list(CASES["paths"])]
TEXTS = [maybe_object(case) for case in maybe_list(CASES["texts"])]


def value_of(class_type: Json, name: Json, value: Json) -> Json:
    """The value after the change."""
    node: JsonObject = {"class_type": class_type, "inputs": {str(name): value}}
    return maybe_object(with_linux_paths({"1": node}, [])["1"]["inputs"])[str(name)]


@pytest.mark.parametrize("case", PATHS, ids=str)
def test_windows_path_gets_forward_slashes(case: JsonObject) -> None:
    assert value_of(case["class_type"], case["input"], case["value"]) == case["expected"]


@pytest.mark.parametrize("case", TEXTS, ids=str)
def test_text_keeps_its_backslashes(case: JsonObject) -> None:
    assert value_of(case["class_type"], case["input"], case["value"]) == case["value"]


@pytest.mark.parametrize("name", maybe_list(CASES["valid_names"]))
def test_name_written_by_the_editor_is_accepted(name: Json) -> None:
    assert name_problem(str(name)) is None


@pytest.mark.parametrize("name", maybe_list(CASES["invalid_names"]))
def test_name_that_leads_out_of_its_folder_is_rejected(name: Json) -> None:
    assert name_problem(str(name)) is not None


@pytest.mark.parametrize(
    ("names", "clash"),
    [
        (["x.png", "a/x.png", "a/b/x.png", "x.png [temp]"], None),
        (["x.png", "x.png"], "x.png"),
        (["a/x.png", "a\\x.png"], "a\\x.png"),
        (["x.png", "x.png [input]"], "x.png [input]"),
        (["a/b/x.png", "a"], "a/b/x.png"),
    ],
)
def test_names_of_one_file_clash(names: list[str], clash: str | None) -> None:
    assert clashing(names) == clash


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pasted/image (1).png", "pasted/image (1).png"),
        ("clipspace/clipspace-mask-1.png [input]", "clipspace/clipspace-mask-1.png [input]"),
        ("x.png [input]", "x.png [input]"),
        ("sub/x.png", "sub\\x.png"),
        ("sub\\x.png", "sub/x.png"),
    ],
)
async def test_input_file_replaces_the_value_equal_to_its_name(tmp_path: Path, name: str, value: str) -> None:
    graph: JsonObject = {
        "1": {"class_type": "LoadImage", "inputs": {"image": value}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    }
    images: list[Json] = [{"name": name, "image": base64.b64encode(PNG).decode()}]
    async with direct_harness(tmp_path, listing({"a.png": PNG})) as harness:
        answer = await harness.run({"workflow": graph, "images": images})

        assert "error" not in answer
        (prompt,) = harness.comfy.prompts
        loaded = maybe_object(maybe_object(prompt.graph["1"])["inputs"])["image"]
        assert harness.comfy.inputs == {str(loaded): PNG}
